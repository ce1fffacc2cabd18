"""Intervals against published figures and simulations; aggregates against their definitions."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest

from reports.statistics.intervals import Interval, bootstrap, interval, intervals, wilson
from reports.statistics.scores import (
    Tables,
    aggregate,
    common_prefix,
    family_mean,
    measure,
    quantities,
    stack,
    union,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
     (1, 29, 0.0061, 0.1718), (29, 29, 0.8830, 1)],
)  # fmt: skip
def test_wilson_gives_the_published_figures(successes, n, low, high):
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3; the last by symmetry."""
    assert wilson(successes, n) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize("n", [1, 7, 100, 10000])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_agrees_with_scipy(n, confidence):
    from scipy.stats import binomtest

    for successes in {0, 1, n // 3, n - 1, n}:
        theirs = binomtest(successes, n).proportion_ci(confidence, method="wilson")
        assert wilson(successes, n, confidence) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="expected"):
        wilson(successes, n)


def test_bootstrap_agrees_with_a_plain_loop():
    rng = np.random.default_rng(3)
    table = rng.uniform(size=(4, 80)) < rng.uniform(size=(1, 80))
    means = []
    for _ in range(4000):
        rows, columns = rng.integers(4, size=4), rng.integers(80, size=80)
        means.append(table[rows][:, columns].mean())
    assert bootstrap(table) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.01)


def test_every_axis_is_resampled():
    """All variation sits in one axis; an interval blind to that axis would be a point."""
    values = np.tile([False, True], 4)
    for axis in range(3):
        shape = [8, 8, 8]
        table = np.broadcast_to(np.expand_dims(values, [a for a in range(3) if a != axis]), shape)
        low, high = bootstrap(table)
        exact = 0.5 + 1.96 * np.array([-1, 1]) * np.sqrt(0.25 / 8)
        assert (low, high) == pytest.approx(exact, abs=0.05)


def test_axes_of_equal_length_are_resampled_independently():
    """Equal draws for both axes would cancel here and leave a point."""
    values = np.linspace(-0.5, 0.5, 8)
    for table in (values[:, None, None] - values[None, :, None], values[:, None] - values):
        low, high = bootstrap(np.broadcast_to(table, (*table.shape[:-1], 8)))
        exact = 1.96 * np.sqrt(2 * values.var() / 8)
        assert (low, high) == pytest.approx((-exact, exact), abs=0.05)


def covered(draw, truth, how, simulations=300):
    rng = np.random.default_rng(7)
    found = how([draw(rng) for _ in range(simulations)])
    return np.mean([low <= truth <= high for low, high in found])


def test_bootstrap_covers_when_images_differ_in_difficulty():
    def draw(rng):  # each image is nearly always right or nearly always wrong: truth 0.5
        return rng.uniform(size=(4, 60)) < rng.beta(0.05, 0.05, size=(1, 60))

    assert covered(draw, 0.5, intervals) > 0.92
    # Negative control: an interval that takes 4 x 60 verdicts as independent claims too much.
    assert covered(draw, 0.5, lambda tables: [wilson(t.sum(), t.size) for t in tables]) < 0.75


def test_bootstrap_covers_when_episodes_differ_in_luck():
    def draw(rng):
        return rng.uniform(size=(10, 60)) < rng.uniform(0.2, 0.8, size=(10, 1))

    assert covered(draw, 0.5, intervals) > 0.88
    assert covered(draw, 0.5, lambda tables: [bootstrap(t.reshape(1, -1)) for t in tables]) < 0.75


def test_bootstrap_is_wide_rather_than_narrow_for_noise():
    assert covered(lambda rng: rng.uniform(size=(3, 60)) < 0.3, 0.3, intervals) > 0.95


def test_an_interval_near_the_edge_still_covers():
    def draw(rng):
        return np.repeat(rng.uniform(size=(1, 100)) < 0.99, 3, axis=0)

    assert covered(draw, 0.99, intervals) > 0.9
    assert covered(draw, 0.99, lambda tables: [bootstrap(t) for t in tables]) < 0.8


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("value", [False, True])
def test_a_constant_table_gets_the_width_of_its_images_not_of_its_episodes(rows, value):
    table = np.full((rows, 50), value)
    assert interval(table) == pytest.approx(wilson(50 * value, 50))


def test_a_constant_difference_is_uncertain_both_ways():
    slack = wilson(0, 50).high
    assert interval(np.zeros((3, 50)), signed=True) == pytest.approx((-slack, slack))
    assert interval(np.ones((3, 50)), signed=True) == pytest.approx((1 - slack, 1))


def test_one_row_of_verdicts_gets_wilson():
    table = np.arange(40)[None] < 10
    assert interval(table) == wilson(10, 40)


def test_intervals_do_not_depend_on_their_company_or_the_run():
    rng = np.random.default_rng(0)
    tables = [rng.uniform(size=shape) < 0.4 for shape in [(3, 40), (1, 40), (3, 40), (5, 30)]]
    assert intervals(tables) == [interval(table) for table in tables]
    assert intervals(tables[::-1]) == intervals(tables)[::-1]


def test_further_axes_of_length_one_change_nothing():
    table = np.random.default_rng(0).uniform(size=(3, 40)) < 0.4
    assert interval(table[None]) == interval(table)


def cell(static, reattacked, before=None, clean=None) -> Tables:
    static, reattacked = np.array(static, dtype=bool), np.array(reattacked, dtype=bool)
    before = static[:1] if before is None else np.array(before, dtype=bool)
    clean = np.ones_like(static) if clean is None else np.array(clean, dtype=bool)
    return Tables(np.ones_like(before), before, clean, static, reattacked)


def random_cells(count, episodes=3, n=50, seed=0):
    rng = np.random.default_rng(seed)
    return [
        cell(*(rng.uniform(size=(episodes, n)) < share for share in (0.7, 0.5)),
             before=rng.uniform(size=(1, n)) < 0.5)
        for _ in range(count)
    ]  # fmt: skip


def test_the_four_numbers_of_a_cell():
    found = quantities(cell([[1, 1, 0, 0]], [[1, 0, 1, 0]], before=[[0, 1, 1, 1]]))
    means = {name: table.mean() for name, table in found.items()}
    assert means["static"] == means["reattacked"] == 0.5
    assert means["robust"] == 0.25
    assert means["inflation"] == 0.25
    assert means["robust_before"] == 0.75
    assert means["gain"] == -0.5


def test_without_a_gap_inflation_is_exactly_zero():
    table = random_cells(1)[0].static
    (row,) = measure([quantities(cell(table, table))], [True])
    assert row["inflation"].value == 0
    assert row["inflation"].interval.low == 0
    assert row["static"] == row["reattacked"] == row["robust"]


def test_a_model_that_does_not_adapt_has_no_inflation_by_definition():
    (row,) = measure([quantities(cell([[1, 0]], [[1, 0]]))], [False])
    assert row["inflation"] == row["gain"] == (0, Interval(0, 0))


def test_union_is_the_worst_per_image_not_the_worst_attack():
    assert union([np.array([[1, 0, 1]], bool), np.array([[0, 1, 1]], bool)]).tolist() == [
        [False, False, True]
    ]


def test_a_family_counts_once_however_many_duplicates_it_has():
    right, wrong = np.ones((1, 4), bool), np.zeros((1, 4), bool)
    assert family_mean([right, wrong], ["a", "b"]).mean() == 0.5
    assert family_mean([right, wrong, wrong, wrong], ["a", "b", "b", "b"]).mean() == 0.5


@pytest.mark.parametrize("over", ["union", "family mean"])
def test_the_order_of_attacks_does_not_matter(over):
    cells, families = random_cells(4), ["a", "b", "a", "c"]
    first = measure([aggregate(cells, families, over)], [True])
    for order in permutations(range(4)):
        again = aggregate([cells[i] for i in order], [families[i] for i in order], over)
        for name, number in measure([again], [True])[0].items():
            assert number.value == pytest.approx(first[0][name].value)


def test_adding_an_attack_never_raises_the_union():
    cells = random_cells(6)
    for count in range(1, 6):
        fewer, more = (
            aggregate(cells[:k], ["a"] * k, "union") for k in (count, count + 1)
        )  # fmt: skip
        for name in ("static", "reattacked", "robust", "robust_before"):
            assert not (more[name] & ~fewer[name]).any()


@pytest.mark.parametrize("over", ["union", "family mean"])
def test_inflation_is_never_negative(over):
    found = aggregate(random_cells(5), ["a", "b", "b", "c", "c"], over)
    assert (found["inflation"] >= 0).all()
    assert found["inflation"].mean() == pytest.approx(
        found["static"].mean() - found["robust"].mean()
    )


def test_cells_are_cut_to_the_images_and_episodes_they_share():
    long, short = random_cells(1, episodes=4, n=60)[0], random_cells(1, episodes=2, n=40)[0]
    cut, same = common_prefix([long, short])
    assert cut.static.shape == same.static.shape == (2, 40)
    assert cut.before.shape == (1, 40)
    assert (cut.reattacked == long.reattacked[:2, :40]).all()
    assert stack([cut, same]).static.shape == (2, 2, 40)


def test_no_plotting_and_no_models_are_loaded_for_the_frame():
    code = "import sys, reports.tidy.frame; print([m for m in ('torch', 'matplotlib', 'scipy', "
    code += "'rich') if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert printed.stdout.decode().strip() == "[]"
