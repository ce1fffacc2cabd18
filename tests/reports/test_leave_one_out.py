"""Defenses that differ in one option, as one row."""

from __future__ import annotations

import pandas as pd
import pytest
from report_records import record

from benchmark.core.errors import UsageError
from benchmark.results.store import write_record
from reports.summary.write import write_report
from reports.tidy.aggregate import headline
from reports.tidy.frame import from_records
from reports.tidy.leave_one_out import joined, without

PARTS = {
    "pgd_linf": "multi_at[attacks=pgd_l2,how=worst]",
    "pgd_l2": "multi_at[attacks=pgd_linf,how=worst]",
}


def frame_of(parts=PARTS, shots=(0, 10)):
    made = [record(attack, name, k) for attack, name in parts.items() for k in shots]
    return from_records(
        [*made, *(record(attack, "standard", k) for attack in parts for k in shots)]
    )


def whole(frame):
    """The lines over all attacks, their mean over families."""
    table = headline(frame)
    return table[(table["scope"] == "all") & (table["over"] == table["over"].iloc[0])]


def test_what_had_holes_is_one_complete_row_with_the_mean_of_its_parts():
    frame = frame_of()
    apart = whole(frame)
    assert set(apart.loc[apart["defense"].str.startswith("multi"), "status"]) == {"missing"}
    one = whole(joined(frame, "attacks"))
    row = one[(one["defense"] == "multi_at[how=worst]") & (one["shots"] == 10)].iloc[0]
    parts = frame[frame["defense"].str.startswith("multi") & (frame["shots"] == 10)]
    assert (row["status"], row["families"], len(parts)) == ("done", 2, 2)
    assert row["robust"] == pytest.approx(parts["robust"].mean())
    assert row["static"] == pytest.approx(parts["static"].mean())


def test_other_rows_stay_as_they_are():
    frame = frame_of()
    one = joined(frame, "attacks")
    kept = frame["defense"] == "standard"
    pd.testing.assert_frame_equal(one[kept], frame[kept], check_dtype=False)
    assert "lr" in frame and set(frame["defense"]) == {"standard", *PARTS.values()}, "untouched"


def test_each_part_may_adapt_with_a_rate_of_its_own():
    frame = frame_of()
    frame.loc[(frame["attack"] == "pgd_l2") & (frame["shots"] > 0), "lr"] = 0.5
    one = whole(joined(frame, "attacks"))
    mine = one[one["defense"] == "multi_at[how=worst]"]
    assert mine["status"].tolist() == ["done", "done"]


def test_an_option_nobody_has_joins_nothing():
    with pytest.raises(UsageError, match="no defense here has an option of that name"):
        joined(frame_of(), "steps")


def test_two_numbers_for_one_cell_are_refused():
    frame = from_records([record("pgd_l2", f"a[attacks={pool}]", 0) for pool in ("x", "y")])
    with pytest.raises(UsageError, match=r"a would have 2 cells where one is expected.*pgd_l2"):
        joined(frame, "attacks")


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("a[b=c,d=e]", "a[d=e]"),
        ("a[b=c]", "a"),
        ("a[start=x[b=c]]", "a[start=x[b=c]]"),
        ("a", "a"),
        ("no [[ name", "no [[ name"),
    ],
)
def test_only_the_option_goes(name, left):
    assert without(name, "b") == left


def test_a_report_joins_on_request(tmp_path):
    for attack, name in PARTS.items():
        write_record(tmp_path / "results", record(attack, name, 0))
    files = write_report(tmp_path / "results", tmp_path / "out", join="attacks, how")
    assert "| multi_at |" in files.markdown.read_text("utf-8")
    files = write_report(tmp_path / "results", tmp_path / "out", join="attacks")
    assert "multi_at\\[how=worst\\]" in files.markdown.read_text("utf-8")
