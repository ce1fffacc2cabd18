"""Collateral and sequences, from synthetic verdicts whose answers are counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from report_records import HOSTILE, outcome, record

from reports.plots.write import write_plots
from reports.summary.files import write_tables
from reports.summary.page import summary
from reports.tidy.aggregate import headline, views
from reports.tidy.frame import from_records
from reports.tidy.sequences import changes, collateral, stages

N = 20
BEFORE = {"pgd_linf": 10, "pgd_l2": 8, "square": 12}
AFTER = {
    ("pgd_linf",): {"pgd_linf": 15, "pgd_l2": 6, "square": 12},
    ("pgd_l2",): {"pgd_linf": 9, "pgd_l2": 14, "square": 5},
    ("square",): {"pgd_linf": 10, "pgd_l2": 9, "square": 13},
    ("pgd_linf", "square"): {"pgd_linf": 11, "pgd_l2": 5, "square": 16},
}
"""How many of 20 images hold, after what was shown: the first ones."""


def first(k, episodes=1):
    return [[1] * k + [0] * (N - k)] * episodes


def cell(shown, attack, held, clean=18, **more):
    result = outcome(
        first(BEFORE[attack]), first(held, 2), first(held, 2), first(clean, 2), first(19)
    )
    found = record(attack, result=result, **more)
    families = [record(name).family for name in shown]
    plain = found.cell.model_copy(update={"shown": () if shown == (attack,) else shown})
    return found.model_copy(update={"cell": plain, "families_shown": families})


@pytest.fixture
def records():
    return [
        cell(shown, attack, held)
        for shown, found in AFTER.items()
        for attack, held in found.items()
    ]  # fmt: skip


def test_changes_are_counted_from_the_trained_model(records):
    found = {(row.shown, row.attack): row for row in changes(from_records(records)).itertuples()}
    assert len(found) == 9
    for (shown, attack), row in found.items():
        assert row.change == pytest.approx((AFTER[shown,][attack] - BEFORE[attack]) / N)
        assert row.change_low <= row.change <= row.change_high
        assert (row.n, row.episodes, row.seeds) == (N, 2, 1)
        assert row.clean_change == pytest.approx(-1 / N)
    assert found["pgd_linf", "square"].family_shown == "linf-gradient"
    assert found["pgd_linf", "square"].family == "score-based"


def test_collateral_is_over_the_others(records):
    ((key, found),) = collateral(changes(from_records(records))).items()
    assert key.defense == "standard"
    assert found.mean == pytest.approx((-2 + 0 - 1 - 7 + 0 + 1) / 6 / N)
    assert (found.worst, found.shown, found.attack) == (pytest.approx(-7 / N), "pgd_l2", "square")
    by_shown = collateral(changes(from_records(records)), by_shown=True)
    assert by_shown[key, "square"].mean == pytest.approx((0 + 1) / 2 / N)


def test_stages_and_metrics_by_hand(records):
    found = {
        (row.stage, row.measure): row.value for row in stages(from_records(records)).itertuples()
    }
    a = np.array([[10, 12], [15, 12], [11, 16]]) / N
    for stage in range(3):
        for place, name in enumerate(("pgd_linf", "square")):
            assert found[stage, name] == pytest.approx(a[stage, place])
        assert found[stage, "union"] == pytest.approx(a[stage].min()), "the first images hold"
    assert [found[stage, "pgd_l2"] for stage in range(3)] == pytest.approx([8 / N, 6 / N, 5 / N])
    assert [found[stage, "clean"] for stage in range(3)] == pytest.approx([19 / N, 18 / N, 18 / N])
    assert found[2, "average"] == pytest.approx((11 + 16) / 2 / N)
    assert found[2, "forgetting"] == pytest.approx((15 - 11) / N)
    assert found[2, "backward transfer"] == pytest.approx((11 - 15) / N)
    assert found[2, "forward transfer"] == pytest.approx(0)
    assert found[2, "clean drift"] == pytest.approx(-1 / N)


def test_a_sequence_with_a_hole_has_no_numbers(records):
    holed = [
        one for one in records if (one.cell.arrivals, one.cell.attack) != (("pgd_linf",), "square")
    ]
    assert stages(from_records(holed)).empty
    assert len(changes(from_records(holed))) == 8
    failed = [
        one if one in holed else one.model_copy(
            update={"status": "failed", "reason": "x", "outcome": None}
        )
        for one in records
    ]  # fmt: skip
    assert stages(from_records(failed)).empty
    assert len(changes(from_records(failed))) == 8


def test_what_else_was_shown_changes_no_other_table(records):
    plain = [one for one in records if not one.cell.shown]
    with_all, alone = (headline(from_records(some)) for some in (records, plain))
    pd.testing.assert_frame_equal(with_all, alone)


def test_records_scored_on_validation_images_are_in_no_report(records):
    chosen = [
        one.model_copy(update={"cell": one.cell.model_copy(update={"split": "validation"})})
        for one in records
    ]
    assert from_records(chosen).empty
    assert len(from_records([*records, *chosen])) == len(records)
    assert len(from_records([*records, *chosen], "validation")) == len(chosen)


def test_verdicts_on_other_images_are_not_compared(records):
    other = cell(("pgd_l2",), "square", 18, query="other")
    found = changes(from_records([*records[:5], *records[6:], other]))
    assert ("pgd_l2", "square") not in set(zip(found["shown"], found["attack"], strict=True))


def test_seeds_are_averaged(records):
    more = [
        cell(shown, attack, held + 2, seed=1)
        for shown, found in AFTER.items() for attack, held in found.items()
    ]  # fmt: skip
    found = changes(from_records([*records, *more])).set_index(["shown", "attack"])
    assert found.loc[("pgd_l2", "square"), "change"] == pytest.approx((5 - 12 + 1) / N)
    assert found.loc[("pgd_l2", "square"), "seeds"] == 2
    staged = stages(from_records([*records, *more]))
    assert set(staged["seeds"]) == {2}
    assert stages(from_records([*records, *more[:-1]])).empty, "a seed with a hole is a hole"


def test_files_pages_and_pictures(records, tmp_path):
    frame = from_records(records)
    shown = views(frame)
    page = summary(frame, shown)
    assert "collateral" in page
    assert "| -7.5, worst -35.0 |" in page
    assert "## Sequences" in page
    written = write_tables(frame, shown, tmp_path).further
    assert [path.name for path in written] == ["attacks.md", "collateral.csv", "sequences.csv"]
    assert "change_low" in written[1].read_text()
    plots = {path.name for path in write_plots(shown, tmp_path)}
    assert {"collateral-digits-small_cnn-k5.png", "sequence-digits-small_cnn.svg"} <= plots


def test_a_page_without_them_says_nothing_of_them():
    frame = from_records([record(shots=0), record()])
    page = summary(frame, views(frame))
    assert "## Collateral" not in page
    assert "| collateral |" not in page


def test_the_heat_map_shows_the_changes_in_order_of_families(records):
    from reports.plots.collateral import collateral_figure

    changed = views(from_records(records)).changed
    axes = collateral_figure(changed).axes[0]
    (mesh,) = (found for found in axes.collections if isinstance(found, QuadMesh))
    names = ["pgd_linf", "pgd_l2", "square"]
    expected = [[(AFTER[s,][a] - BEFORE[a]) / N for a in names] for s in names]
    assert mesh.get_array().data.reshape(3, 3) == pytest.approx(np.array(expected))
    assert mesh.norm.vmin == -mesh.norm.vmax, "0 is in the middle of the colours"
    texts = [text.get_text() for text in axes.texts]
    assert texts[:3] == ["+25", "-10", "0"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_not_trusted(records, name, tmp_path):
    evil = [
        one.model_copy(update={"cell": one.cell.model_copy(update={"defense": name})})
        for one in records
    ]
    frame = from_records(evil)
    page = summary(frame, views(frame))
    assert "<script" not in page
    assert len(write_plots(views(frame), tmp_path)) == len(list(tmp_path.iterdir()))
