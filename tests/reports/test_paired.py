"""The paired test against scipy, brute force and hand-worked figures; Holm; the effect sizes."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from reports.statistics.paired import change, change_intervals, holm, sign_flip


def tables(lost, won, same, episodes=1):
    """Verdicts with so many changes, spread over the images of one row."""
    before = np.array([[True] * lost + [False] * won + [True] * same])
    after = np.array([[False] * lost + [True] * won + [True] * same])
    return np.repeat(before, episodes, 0), np.repeat(after, episodes, 0)


@pytest.mark.parametrize(("lost", "won"), [(0, 0), (1, 0), (5, 0), (4, 10), (40, 10), (25, 25)])
def test_one_episode_is_mcnemars_exact_test(lost, won):
    found = change(*tables(lost, won, same=50))
    expected = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert (found.lost, found.won, found.n) == (lost, won, 50 + lost + won)
    assert found.points == pytest.approx(100 * (won - lost) / found.n)


def test_the_figure_of_a_textbook():
    """Agresti 2002, table 10.1: 86 and 150 changed their opinion; z^2 = 17.36, p < 0.0001."""
    found = change(*tables(lost=150, won=86, same=1600 - 236))
    assert found.p == pytest.approx(binomtest(86, 236).pvalue, rel=1e-9)
    assert 1e-5 < found.p < 1e-4
    assert found.odds == pytest.approx(86 / 150)


@pytest.mark.parametrize("seed", range(8))
def test_several_episodes_are_every_sign_of_every_image(seed):
    """All 2^n signs, one by one."""
    rng = np.random.default_rng(seed)
    sums = rng.integers(-4, 5, size=10) * rng.integers(0, 2, size=10)
    flips = np.array(list(product([-1, 1], repeat=10)))
    expected = np.mean(np.abs(flips @ np.abs(sums)) >= abs(sums.sum()))
    assert sign_flip(sums) == pytest.approx(expected, rel=1e-9)


def test_several_episodes_as_scipy_permutes_them():
    rng = np.random.default_rng(0)
    before, after = rng.random((2, 3, 200)) < np.array([0.6, 0.52])[:, None, None]
    means = before.mean(axis=0), after.mean(axis=0)
    sampled = permutation_test(
        means, lambda x, y, axis: (x - y).mean(axis), permutation_type="samples",
        n_resamples=20_000, vectorized=True, rng=np.random.default_rng(1),
    )  # fmt: skip
    assert change(before, after).p == pytest.approx(sampled.pvalue, abs=0.01)


def test_episodes_are_no_further_images():
    """Ten identical episodes say as much as one; ten times the images say more."""
    once, repeated = tables(9, 2, 89), tables(9, 2, 89, episodes=10)
    assert change(*repeated).p == pytest.approx(change(*once).p, rel=1e-9)
    assert change(*tables(90, 20, 890)).p < 1e-6 < change(*once).p
    assert change(*repeated).points == pytest.approx(change(*once).points)
    assert change_intervals([repeated])[0] == pytest.approx(change_intervals([once])[0])


def test_under_the_null_p_is_no_smaller_than_it_says():
    """Images of unequal difficulty, three correlated episodes each: size at 0.05 and 0.01."""
    rng = np.random.default_rng(0)
    hard = rng.random((1, 1, 300))
    seen = rng.random((2, 2000, 1, 300)) * 0.6 + rng.random((2, 2000, 3, 300)) * 0.4
    before, after = seen < hard
    p = np.array([change(*pair).p for pair in zip(before, after, strict=True)])
    assert np.mean(p < 0.01) <= 0.01 + 3 * (0.01 * 0.99 / 2000) ** 0.5
    assert 0.03 <= np.mean(p < 0.05) <= 0.05 + 3 * (0.05 * 0.95 / 2000) ** 0.5


def test_many_images_and_episodes_stay_exact():
    """10 episodes, 10,000 images, and p near that of the normal limit."""
    rng = np.random.default_rng(0)
    before, after = rng.random((2, 10, 10_000)) < np.array([0.5, 0.503])[:, None, None]
    found = change(before, after)
    sums = (after.astype(int) - before).sum(axis=0)
    z = abs(sums.sum()) / np.sqrt((sums**2).sum())
    from scipy.stats import norm

    assert found.p == pytest.approx(2 * norm.sf(z), rel=0.02)


def test_holm_step_by_step():
    """Worked by hand: 4 x 0.005, 3 x 0.011, 2 x 0.02 = 0.04, then no smaller than that."""
    assert holm([0.02, 0.005, 0.04, 0.011]) == pytest.approx([0.04, 0.02, 0.04, 0.033])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []
    assert holm([[0.04, 0.01], [0.01, 0.3]]) == pytest.approx(np.array([[0.04, 0.02], [0.02, 0.3]]))


def test_odds_where_nothing_went_one_way():
    assert change(*tables(3, 0, 9)).odds == 0
    assert change(*tables(0, 3, 9)).odds == float("inf")
    assert change(*tables(0, 0, 9)).odds is None


def test_intervals_lie_around_the_change_and_agree_with_the_test():
    (clear,), (none,) = (
        change_intervals([tables(*counts)]) for counts in [(40, 10, 950), (25, 25, 950)]
    )
    assert clear.low < -0.03 < clear.high < 0 < none.high
    assert none.low == pytest.approx(-none.high, abs=0.003)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="two tables"):
        change(np.ones((1, 3), bool), np.ones((1, 4), bool))
