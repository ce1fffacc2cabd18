"""Published metrics over attacks: by hand, against published properties, in any order."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from report_records import matrix, outcome, record

from reports.statistics import scores
from reports.statistics.scores import (
    accuracies,
    average,
    cr_average,
    cr_worst,
    mean_uar,
    ua2,
    uar,
    union_accuracy,
)
from reports.tidy.frame import from_records

WEAK, STRONG = "pgd_l2[eps=0.5]", "pgd_l2[eps=1]"


def cell(verdicts, attack, defense="m", clean=(1, 1, 1, 0), **more):
    right = [list(verdicts)]
    return record(
        attack, defense, 0, outcome(right, right, right, [list(clean)], [list(clean)]), **more
    )


@pytest.fixture
def frame():
    """Clean 3/4; 3/4 and 1/4 under an attack of two strengths, 2/4 under another."""
    return from_records(
        [cell([1, 1, 1, 0], WEAK), cell([0, 1, 0, 0], STRONG), cell([1, 0, 1, 0], "fgsm")]
    )


ATA = {"clean": 1.0, WEAK: 0.5, STRONG: 0.5, "fgsm": 0.8}
BY_HAND = {
    average: (0.75 + 0.25 + 0.5) / 3,
    union_accuracy: 0.0,
    lambda f: union_accuracy(f, [WEAK, STRONG]): 0.25,
    lambda f: union_accuracy(f, [WEAK, "fgsm"]): 0.5,
    lambda f: ua2(f, [WEAK, "fgsm"]): 0.625,
    lambda f: uar(f, {WEAK: 0.9, STRONG: 0.7}): 100 * 1.0 / 1.6,
    lambda f: mean_uar(f, [{WEAK: 0.9, STRONG: 0.7}, {"fgsm": 0.8}]): (62.5 + 62.5) / 2,
    lambda f: cr_average(f, ATA): 100 / 4 * (0.75 + 1.5 + 0.5 + 0.625),
    lambda f: cr_worst(f, ATA): 100 * 0.5,
}


@pytest.mark.parametrize(("metric", "value"), BY_HAND.items())
def test_by_hand(frame, metric, value):
    (found,) = metric(frame)
    assert found == pytest.approx(value)


def test_the_reference_against_itself_is_100():
    """MultiRobustBench's own code gives 100, 51.2, 34.4, ... as attacks are added."""
    names = [f"pgd_linf[eps={eps}]" for eps in (0.1, 0.2, 0.3, 0.4)]
    right = [[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]]
    frame = from_records(
        [cell(v, name, clean=right[0]) for v, name in zip(right, names, strict=True)]
    )
    for count in range(1, 5):
        own = {"clean": 1.0} | {name: sum(right[i]) / 4 for i, name in enumerate(names[:count])}
        assert cr_average(frame, own).item() == pytest.approx(100)
        assert cr_worst(frame, own).item() == pytest.approx(100)
        sizes = {name: value for name, value in own.items() if name != "clean"}
        assert uar(frame, sizes).item() == pytest.approx(100)


METRICS = {
    "accuracies": accuracies, "average": average, "union": union_accuracy,
    "ua2": lambda f: ua2(f, ["fgsm", "square"]), "uar": lambda f: uar(f, {"fgsm": 0.5}),
    "cr_average": lambda f: cr_average(f, {"clean": 1.0, "fgsm": 0.5, "square": 0.4}),
    "cr_worst": lambda f: cr_worst(f, {"clean": 1.0, "fgsm": 0.5, "square": 0.4}),
}  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_the_order_of_rows_does_not_matter(name):
    frame = from_records(
        matrix(attacks=("fgsm", "square", "jsma"), shots=(0, 5), seeds=(0, 1), n=40)
    )
    first = METRICS[name](frame)
    for seed in range(3):
        shuffled = frame.sample(frac=1, random_state=seed).reset_index(drop=True)
        again = METRICS[name](shuffled)
        same = (
            pd.testing.assert_frame_equal
            if name == "accuracies"
            else pd.testing.assert_series_equal
        )
        same(first, again[first.columns] if name == "accuracies" else again)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "accuracies"])
@pytest.mark.parametrize("hole", ["missing", "failed", "seed"])
def test_a_hole_is_null_and_never_averaged_around(name, hole):
    records = matrix(("pgd_at", "standard"), ("fgsm", "square"), (0,), seeds=(0, 1), n=20)

    def gone(r):
        return r.cell.attack == "fgsm" and r.cell.defense == "pgd_at" and (
            hole != "seed" or r.cell.seed == 1
        )  # fmt: skip

    kept = [r for r in records if not gone(r)]
    if hole == "failed":
        kept += [record("fgsm", "pgd_at", 0, seed=s, status="failed", reason="x") for s in (0, 1)]
    found = METRICS[name](from_records(kept)).droplevel(["dataset", "network"])
    assert found.xs("pgd_at").isna().all()
    assert found.xs("standard").notna().all()


def test_seeds_are_averaged_and_budgets_kept_apart():
    frame = from_records(matrix(("pgd_at",), ("fgsm",), (0, 5), seeds=(0, 1), n=40))
    table = accuracies(frame)
    for shots in (0, 5):
        expected = frame[frame["shots"] == shots]["robust"].mean()
        assert table.xs(shots, level="shots")["fgsm"].item() == pytest.approx(expected)
    assert accuracies(frame, "static")["fgsm"].tolist() != table["fgsm"].tolist()


def test_union_never_exceeds_the_worst_attack():
    frame = from_records(matrix(attacks=("fgsm", "square", "pgd_l2"), shots=(0, 5), n=60))
    worst = accuracies(frame).drop(columns="clean").min(axis=1)
    assert (union_accuracy(frame) <= worst + 1e-12).all()
    assert (union_accuracy(frame) <= average(frame)).all()


@pytest.mark.parametrize("ata", [{}, {"fgsm": 0.5}, {"clean": 0.0}, {"clean": 1.0, "fgsm": np.nan}])
def test_references_that_are_none(frame, ata):
    with pytest.raises(ValueError, match="expected"):
        cr_average(frame, ata)


def test_an_attack_nobody_ran_is_null_not_left_out(frame):
    assert ua2(frame, [WEAK, "elastic"]).isna().all()
    assert scores.cr_average(frame, ATA | {"elastic": 0.5}).isna().all()


def test_union_is_over_attacks_within_an_episode():
    first = outcome([[1, 1]], [[1, 1], [0, 1]], [[1, 1], [1, 1]])
    second = outcome([[1, 1]], [[1, 0], [1, 0]], [[1, 1], [1, 1]])
    frame = from_records([record("fgsm", "m", 5, first), record("square", "m", 5, second)])
    assert union_accuracy(frame).item() == (0.5 + 0.0) / 2
    assert average(frame).item() == (0.75 + 0.5) / 2
