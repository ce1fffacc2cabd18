"""Over attacks: holes, scopes, ranks, findings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from report_records import ATTACKS, line, matrix, outcome, record, without

from reports.statistics.intervals import wilson
from reports.tidy.aggregate import headline, per_attack
from reports.tidy.frame import from_records
from reports.tidy.warnings import warnings


def shares(*attacks):
    """A line of one defense: each attack as (name, family, verdicts of robust@5)."""
    return from_records(
        record(name, family=family, result=outcome(row, row, row))
        for name, family, row in attacks
    )  # fmt: skip


def test_headline_goes_over_attacks_by_family_and_in_the_worst_case():
    frame = shares(
        ("a1", "a", [[1, 1, 0, 0]]), ("a2", "a", [[0, 1, 1, 0]]), ("b1", "b", [[1, 1, 1, 0]])
    )
    assert line(frame, "standard", 5).robust == (1 / 4 + 3 / 4) / 2
    assert line(frame, "standard", 5, over="union").robust == 1 / 4
    assert line(frame, "standard", 5, over="union").robust_interval == wilson(1, 4)


def test_an_attack_scored_on_fewer_images_cuts_the_others_to_the_same():
    frame = shares(("a1", "a", [[1, 1, 0, 0]]), ("b1", "b", [[1, 0]]))
    row = line(frame, "standard", 5, over="union")
    assert (row.n, row.robust) == (2, 1 / 2)
    shown = per_attack(frame).set_index("attack")
    assert shown["n"].to_dict() == {"a1": 4, "b1": 2}
    assert shown.loc["a1", "robust"] == 2 / 4


def test_an_attack_has_its_strength_on_each_data_set():
    both = [record(dataset="mnist", threat="linf 0.3"), record(dataset="digits")]
    shown = per_attack(from_records(both)).set_index("dataset")
    assert shown["threat"].to_dict() == {"mnist": "linf 0.3", "digits": "linf 0.15"}


def test_the_order_of_records_does_not_matter():
    records = matrix(attacks=ATTACKS, shots=(0, 5), n=40)
    key = ["defense", "shots", "scope", "over"]
    one, other = (headline(from_records(r)).sort_values(key) for r in (records, records[::-1]))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


@pytest.mark.parametrize("status", ["missing", "failed", "skipped"])
def test_a_hole_empties_its_line_and_its_rank_only(status):
    records = without(matrix(attacks=ATTACKS, shots=(0, 5), n=40), "pgd_at", "pgd_l2", 5)
    if status != "missing":
        records.append(record("pgd_l2", "pgd_at", 5, status=status, reason="boom"))
    frame = from_records(records)
    hole = line(frame, "pgd_at", 5)
    assert hole.status == status if status != "skipped" else hole.status != "done"
    assert (hole.expected, hole.scored) == (4, 3)
    assert pd.isna([hole.robust, hole.static, hole.clean, hole.n, hole.rank]).all()
    whole = line(frame, "meta_adv", 5)
    assert (whole.status, whole.expected, whole.scored) == ("done", 4, 4)
    assert {line(frame, name, 5).rank for name in ("standard", "meta_adv")} == {1, 2}
    assert {line(frame, name, 0).rank for name in ("standard", "pgd_at", "meta_adv")} == {1, 2, 3}
    shown = per_attack(frame).set_index(["defense", "shots", "attack"])
    assert shown.loc[("pgd_at", 5, "pgd_l2"), "status"] == status
    assert pd.isna(shown.loc[("pgd_at", 5, "pgd_l2"), "robust"])
    assert shown.loc[("pgd_at", 5, "fgsm"), "robust"] > 0


def test_what_can_run_nowhere_is_no_hole():
    records = matrix(attacks=ATTACKS, shots=(0,), n=40)
    records += [
        record("rgb", name, 0, status="skipped", reason="needs 3 channels")
        for name in ("standard", "pgd_at", "meta_adv")
    ]
    row = line(from_records(records), "pgd_at", 0)
    assert (row.status, row.expected, row.skipped) == ("done", 4, 1)


def test_a_missing_training_seed_is_a_hole():
    records = matrix(defenses=("pgd_at",), attacks=("fgsm", "square"), shots=(5,), seeds=(0, 1))
    assert line(from_records(records), "pgd_at", 5).status == "done"
    assert line(from_records(records[:-1]), "pgd_at", 5).status == "missing"


def test_training_seeds_are_averaged_and_widen_the_interval():
    def seed(value, share):
        verdicts = np.arange(200)[None] < share * 200
        return record(seed=value, result=outcome(verdicts, verdicts, verdicts))

    row = line(from_records([seed(0, 0.2), seed(1, 0.6)]), "standard", 5)
    assert row.robust == pytest.approx(0.4)
    assert row.seeds == 2
    assert row.robust_interval.low < 0.2
    assert row.robust_interval.high > 0.6


def test_verdicts_on_other_images_are_not_paired():
    records = [record("fgsm", query="one"), record("cw", query="one"), record("jsma", query="two")]
    frame = from_records(records)
    assert line(frame, "standard", 5).status == "missing"
    assert [finding.kind for finding in warnings(frame)] == ["unpaired"]


def test_the_run_on_more_images_wins_over_the_quick_one():
    quick = record(result=outcome([[1]], [[1]], [[1]]), limit=1)
    full = record(result=outcome([[1, 0, 0]], [[1, 0, 0]], [[1, 0, 0]]))
    for records in ([quick, full], [full, quick]):
        row = line(from_records(records), "standard", 5)
        assert (row.n, row.robust) == (3, 1 / 3)


def test_seen_attacks_never_enter_the_unseen_numbers():
    right, wrong = ([[value] * 8] for value in (1, 0))
    frame = from_records(
        [
            record("new", family="a", unseen=True, result=outcome(wrong, wrong, wrong)),
            record("old", family="b", unseen=False, result=outcome(right, right, right)),
            record("odd", family="c", unseen=None, result=outcome(right, right, wrong)),
        ]
    )
    found = {scope: line(frame, "standard", 5, scope=scope) for scope in ("unseen", "seen")}
    assert found["unseen"].robust == 0
    assert found["seen"].robust == 1
    assert line(frame, "standard", 5, scope="unknown").static == 1
    assert {row.attacks for row in found.values()} == {1}
    assert all(pd.isna(row.rank) for row in found.values())
    assert line(frame, "standard", 5).attacks == 3


def test_a_hole_of_unknown_status_goes_where_its_family_belongs():
    records = without(matrix(attacks=ATTACKS, shots=(5,), n=40), "pgd_at", "fgsm", 5)
    frame = from_records(records)
    assert line(frame, "pgd_at", 5, scope="seen").status == "missing"
    assert line(frame, "pgd_at", 5, scope="unseen").status == "done"


@pytest.mark.parametrize(("black", "flagged"), [(0.3, True), (0.4975, False), (0.6, False)])
def test_a_gradient_free_attack_that_wins_beyond_chance_is_suspicious(black, flagged):
    def at(share):
        verdicts = np.arange(400)[None] < share * 400
        return outcome(verdicts, verdicts, verdicts)

    records = [record("pgd_linf", result=at(0.5)), record("square", result=at(black))]
    records += [record("cw", result=at(0.9)), record("rotation", result=at(0.1))]
    found = [finding for finding in warnings(from_records(records)) if finding.kind == "masking"]
    assert [("square" in finding.message) for finding in found] == [True] * flagged


def test_adapted_models_are_not_compared_for_masking():
    """Each attack met the model that adapted to it: their difference says nothing of gradients."""
    right, wrong = ([[value] * 100] for value in (1, 0))
    records = [
        record("pgd_linf", result=outcome(right, right, right)),
        record("square", result=outcome(right, wrong, wrong)),
    ]
    assert not warnings(from_records(records))


def test_inflation_and_flags_are_reported():
    stale, held = [[1] * 50], [[1] * 40 + [0] * 10]
    records = [record(result=outcome(held, stale, held), flags=["zero gradient"])]
    records += [record("cw", result=outcome(held, held, held))]
    found = {finding.kind: finding.message for finding in warnings(from_records(records))}
    assert found.keys() == {"inflation", "flag"}
    assert "1 of 2 cells" in found["inflation"]
    assert "20.0 (pgd_linf)" in found["inflation"]
    assert "zero gradient (1 cells" in found["flag"]


@pytest.mark.parametrize(("fell", "doubtful"), [(1.0, 0), (0.5, 0), (0.4, 1), (None, 0)])
def test_adaptation_that_does_not_lower_its_own_loss_is_found(fell, doubtful):
    frame = shares(("a1", "a", [[1, 1, 0, 0]]), ("b1", "b", [[1, 1, 1, 0]]))
    frame["loss_fell"] = pd.Series([fell, 1.0], dtype="float64")
    found = [finding for finding in warnings(frame) if finding.kind == "adaptation"]
    assert len(found) == doubtful
    assert all("of 1 of 2 cells (e.g. a1)" in finding.message for finding in found)
