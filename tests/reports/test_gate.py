"""The gate's judgement: what turns it red, what must not, and how often it errs."""

import numpy as np
import pytest
from gate_records import CELL, base, cell, worsened
from scipy.stats import binom

from benchmark.core.errors import UsageError
from benchmark.results.records import Verdicts
from reports.gate.baseline import Kept
from reports.gate.judge import RULES, Rules, judge, judge_ratios
from reports.gate.power import ATTACKS, CHANGED, DROPS, IMAGES, closes, power_table
from reports.tidy.frame import rows


def judged(before, after, rules=RULES, floors=None, **facts):
    """The judgement on one cell."""
    return judge({CELL: cell(before)}, {CELL: cell(after, **facts)}, rules, floors)


def only(judgement):
    (entry,) = judgement.entries
    return entry


# Negative controls: a drop of three points is red, noise is not.


def test_a_drop_of_three_points_is_red():
    found = judged(base(), worsened(base(), lost=40, won=10))
    assert (found.code, only(found).verdict) == (1, "red")
    (problem,) = only(found).problems
    assert "-3.0 points (40 verdicts lost, 10 won; p = 2.4e-05 after Holm)" in problem


def test_noise_is_not():
    found = judged(base(), worsened(base(), lost=27, won=23))
    assert (found.code, only(found).verdict) == (0, "unchanged")


def test_nothing_at_all_is_not():
    assert only(judged(base(), base())).p == 1.0
    assert judged(base(), base()).code == 0


def test_what_is_certain_but_small_is_within_the_tolerance():
    """0.9 points, all of them lost: p = 0.004; 1.1 points are red."""
    small, larger = (worsened(base(), lost) for lost in (9, 11))
    assert only(judged(base(), small)).p < 0.01
    assert judged(base(), small).code == 0
    assert judged(base(), small, Rules(tolerance=0.8)).code == 1
    assert judged(base(), larger).code == 1
    assert judged(base(), larger, Rules(tolerance=1.1)).code == 0, "beyond it, not at it"


def test_what_is_large_but_uncertain_is_not_red():
    """Five of 50 images are ten points, and p = 1/16."""
    few = base(50)
    assert judged(few, worsened(few, lost=5)).code == 0
    assert judged(few, worsened(few, lost=8)).code == 1


def test_a_gain_is_told_and_is_no_error():
    found = judged(base(), worsened(base(), lost=10, won=40))
    assert (found.code, only(found).verdict) == (0, "improved")


def test_many_cells_make_each_of_them_harder_to_see():
    """p = 0.0009 is red alone and not among forty."""
    after = worsened(base(), lost=21, won=4)
    others = {f"cell {i}": cell(base(seed=i), f"cell {i}") for i in range(1, 40)}
    alone = judged(base(), after)
    assert 0.0005 < only(alone).p < 0.002
    assert alone.code == 1
    assert judge({CELL: cell(base()), **others}, {CELL: cell(after), **others}).code == 0


def test_episodes_do_not_multiply_the_evidence():
    few = base(200)
    for episodes in (1, 10):
        before = np.repeat(few, episodes, axis=0)
        assert only(judged(before, worsened(before, lost=7, won=1))).p == pytest.approx(0.0703125)


# The figures asked of the gate, on records' own packed verdicts. Fixed seed.


def pull_requests(count, attacks, lost, won, seed, n=1000):
    """Judgements of simulated pull requests; each side goes through the format of a baseline."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        before = rng.random((attacks, n)) < 0.5
        # of those right, lost / 0.5 change; of those wrong, won / 0.5
        changes = rng.random((attacks, n)) < np.where(before, lost, won) / 0.5
        sides = before, before ^ changes
        yield judge(*({str(i): through_disk(row[None]) for i, row in enumerate(s)} for s in sides))


def through_disk(table):
    packed = Verdicts.pack(table)
    value = round(100 * table.mean(), 1)
    kept = Kept(robust=value, n=packed.n, episodes=1, query="q0", bits=packed.bits)
    return kept.scored("cell")


def red(judgements):
    return np.mean([one.code == 1 for one in judgements])


def test_a_true_drop_of_three_points_is_seen_in_nine_of_ten_pull_requests():
    """1,000 images, 5 % of verdicts change sides: 4 % lost, 1 % won."""
    assert red(pull_requests(1000, 1, lost=0.04, won=0.01, seed=0)) >= 0.9


def test_without_a_drop_at_most_one_in_a_hundred_is_red():
    assert red(pull_requests(1000, 1, lost=0.025, won=0.025, seed=1)) <= 0.01


def test_nor_over_forty_attacks_at_once():
    assert red(pull_requests(300, 40, lost=0.025, won=0.025, seed=2)) <= 0.01
    rng = np.random.default_rng(3)
    assert closes(1000, 0, 5, Rules(), rng, attacks=40) <= 0.01


@pytest.mark.parametrize(("drop", "changed", "n"), [(0, 5, 1000), (3, 5, 1000), (2, 10, 1000)])
def test_how_often_it_closes_is_what_the_binomials_say(drop, changed, n):
    """Summed over all numbers of changes and losses, nothing simulated."""
    lost, won, expected = (changed + drop) / 200, (changed - drop) / 200, 0.0
    for changes in range(1, 200):
        counts = np.arange(changes + 1)
        p = np.minimum(1, 2 * binom.cdf(np.minimum(counts, changes - counts), changes, 0.5))
        closed = (p < 0.01) & (2 * counts - changes > 0.01 * n)
        share = binom.pmf(counts, changes, lost / (lost + won))
        expected += binom.pmf(changes, n, lost + won) * share[closed].sum()
    found = closes(n, drop, changed, Rules(), np.random.default_rng(0), pulls=20_000)
    assert found == pytest.approx(expected, abs=4 * (expected * (1 - expected) / 20_000) ** 0.5)


# Floors, flags, missing and new cells, other images, ratios.


@pytest.mark.parametrize("pattern", [CELL, "*", "digits/*/pgd_linf/k0?", "*[!x]*"])
def test_a_floor_is_hard(pattern):
    """No test, no tolerance; brackets in names are themselves."""
    table = worsened(np.ones((1, 1000), bool), lost=1)
    if "[" in pattern:
        with pytest.raises(UsageError, match="is over no cell"):
            judged(table, table, floors={pattern: 99.95})
        return
    assert judged(table, table, floors={pattern: 99.95}).code == 1
    assert judged(table, table, floors={pattern: 99.9}).code == 0
    assert judged(table, table, floors={pattern: 99.9, "*": 99.99}).code == 1, "the highest"


def test_a_new_cell_is_no_error_unless_it_is_below_its_floor():
    old, new = {CELL: cell(base())}, {CELL: cell(base()), "b": cell(base(), "b")}
    assert [one.verdict for one in judge(old, new).entries] == ["unchanged", "new"]
    assert judge(old, new, floors={"b": 90}).code == 1


def test_a_missing_cell_cannot_be_judged():
    both = {CELL: cell(base()), "b": cell(base(), "b")}
    found = judge(both, {CELL: cell(worsened(base(), 40, 10))})
    assert [one.verdict for one in found.entries] == ["red", "missing"]
    assert found.code == 2


def test_a_new_flag_is_red_and_a_known_one_with_another_figure_is_not():
    flag = "zero gradients: 12% of images give none"
    assert judged(base(), base(), flags=[flag]).code == 1
    assert (
        "new audit flag: zero gradients" in only(judged(base(), base(), flags=[flag])).problems[0]
    )
    known = {CELL: cell(base(), flags=["zero gradients: 9% of images give none"])}
    assert judge(known, {CELL: cell(base(), flags=[flag])}).code == 0
    assert judge(known, {CELL: cell(base())}).code == 0


@pytest.mark.parametrize(
    "after", [cell(base(), query="q1"), cell(base(999)), cell(base(episodes=3))]
)
def test_other_images_are_refused(after):
    with pytest.raises(UsageError, match="1 of 1 cells are not of the same images"):
        judge({CELL: cell(base())}, {CELL: after})


def test_ratios():
    found = judge_ratios({"a": 2.0, "b": 2.0, "c": 2.0}, {"a": 1.71, "b": 1.69, "c": 2.5, "d": 9})
    assert [one.verdict for one in found.entries] == ["unchanged", "red", "improved", "new"]
    assert only(judge_ratios({"a": 2.0}, {})).verdict == "missing"
    assert judge_ratios({"a": 2.0}, {"a": 1.69}, Rules(ratio_tolerance=0.2)).code == 0


def test_the_table_of_power_is_seeded_and_leaves_out_what_cannot_be():
    """A drop of 3 points needs 3 % of verdicts to change."""
    (one, again) = (power_table(RULES) for _ in range(2))
    assert one.equals(again)
    assert len(one) == len(ATTACKS) * len(CHANGED) * len(IMAGES)
    assert one.loc[one["changed"] == 2, "3"].isna().all()
    assert one["0"].max() <= 0.01
    (row,) = rows(one.query("attacks == 1 and changed == 5 and n == 1000"))
    assert row[3 + DROPS.index(3)] >= 0.9
