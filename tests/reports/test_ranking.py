"""Paired tests against closed forms and enumeration; ranks against known truths."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest

from reports.statistics.paired import sign_flip
from reports.statistics.ranking import Rank, _many, pairwise, ranks, separated


def two(only_first, only_second, both=5):
    """Two rows of verdicts with so many discordant images."""
    first = [1] * only_first + [0] * only_second + [1] * both
    second = [0] * only_first + [1] * only_second + [1] * both
    return np.array([first, second])


@pytest.mark.parametrize(("b", "c"), [(10, 2), (2, 10), (6, 6), (0, 1), (0, 0), (15, 30)])
def test_verdicts_get_mcnemars_exact_test(b, c):
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    p = pairwise(two(b, c))
    assert p[0, 1] == pytest.approx(min(1, 2 * tail))
    assert (p == p.T).all()
    assert (np.diag(p) == 1).all()


def test_mcnemar_of_the_textbook():
    """Agresti, Categorical Data Analysis (2002), table 10.1: 150 and 86 of 1,600 change sides."""
    assert pairwise(two(150, 86, 1364))[0, 1] == pytest.approx(3.7e-5, rel=0.05)


def test_episodes_and_families_are_weights_of_an_image():
    """Five episodes that repeat the first are no further evidence."""
    rng = np.random.default_rng(0)
    verdicts = rng.integers(0, 2, (4, 60))
    assert pairwise(5 * verdicts) == pytest.approx(pairwise(verdicts))


def test_differences_of_several_sizes_get_the_exact_sign_flip_test():
    rng = np.random.default_rng(1)
    scores = np.stack([rng.integers(0, 8, 14), rng.integers(1, 9, 14)])
    apart = scores[0] - scores[1]
    flips = np.array(list(product((-1, 1), repeat=14))) @ apart
    exact = (np.abs(flips) >= abs(apart.sum())).mean()
    assert pairwise(scores)[0, 1] == pytest.approx(exact)


def test_many_tests_at_once_are_near_the_exact_ones():
    rng = np.random.default_rng(5)
    apart = rng.integers(-6, 7, (40, 120)) + rng.integers(0, 3, (40, 1))
    exact = np.array([sign_flip(one) for one in apart])
    assert _many(apart) == pytest.approx(exact, rel=0.15, abs=0.01)
    verdicts = rng.integers(-1, 2, (40, 80))
    assert _many(verdicts) == pytest.approx([sign_flip(one) for one in verdicts])


def test_few_differing_images_never_convince():
    scores = np.array([[9, 9, 9, 5, 5, 5], [1, 2, 3, 5, 5, 5]])
    assert pairwise(scores)[0, 1] >= 2 ** (1 - 3)


def test_holm_keeps_the_familywise_error():
    """40 rows without a difference: at most about 5 in 100 boards separate anything."""
    rng = np.random.default_rng(2)
    wrong = sum(separated(rng.integers(0, 6, (12, 150))).any() for _ in range(200))
    assert wrong <= 20


def test_rank_intervals_count_who_is_better_and_worse_beyond_doubt():
    differ = np.zeros((4, 4), bool)
    differ[0, 3] = differ[3, 0] = differ[1, 3] = differ[3, 1] = True
    assert ranks([0.9, 0.8, 0.7, 0.2], differ) == [
        Rank(1, 1, 3), Rank(2, 1, 3), Rank(3, 1, 4), Rank(4, 3, 4)
    ]  # fmt: skip


def test_equal_values_share_a_place():
    assert [rank.place for rank in ranks([0.5, 0.7, 0.5], np.zeros((3, 3), bool))] == [2, 1, 2]


def test_rank_intervals_cover_the_true_ranks():
    """Rows of known accuracy: all true places are inside at once in nearly all boards."""
    truth = np.array([0.9, 0.7, 0.7, 0.4])
    low, high = np.array([1, 2, 2, 4]), np.array([1, 3, 3, 4])
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        verdicts = (rng.uniform(size=(4, 300)) < truth[:, None]).astype(int)
        found = ranks(verdicts.mean(axis=1), separated(verdicts))
        covered += all(r.low <= a and b <= r.high for r, a, b in zip(found, low, high, strict=True))
    assert covered >= 92
