"""Records to one tidy table: what is there, what stays empty, what JSON gets."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from report_records import matrix, outcome, record

from benchmark.core.errors import UsageError
from benchmark.results.store import write_record
from reports.tidy.frame import COLUMNS, from_records, load, rows, to_json_cells

ISSUE = (
    "dataset network defense seed attack family threat origin unseen method knowledge shots steps "
    "episodes status reason n clean static reattacked robust robust_interval inflation gain moved "
    "seconds shown"
)
NUMBERS = ("n", "clean", "static", "reattacked", "robust", "inflation", "gain", "moved")


def test_the_columns_are_those_promised_for_json():
    assert tuple(ISSUE.split()) == COLUMNS
    assert list(from_records([record()]).columns[: len(COLUMNS)]) == list(COLUMNS)
    assert list(to_json_cells(from_records([record()]))[0]) == list(COLUMNS)


def test_numbers_are_those_of_the_verdicts():
    done = outcome(
        before=[[1, 0, 0, 0]], static=[[1, 1, 1, 0], [1, 1, 0, 0]],
        reattacked=[[1, 0, 1, 1], [0, 1, 0, 0]], clean=[[1, 1, 1, 1], [1, 1, 0, 0]],
    )  # fmt: skip
    row = from_records([record(result=done)]).iloc[0]
    assert row["static"] == 5 / 8
    assert row["reattacked"] == 4 / 8
    assert row["robust"] == 3 / 8
    assert row["inflation"] == 2 / 8
    assert row["gain"] == 1 / 8
    assert row["robust_before"] == 1 / 4
    assert row["clean"] == 6 / 8
    assert row["clean_before"] == 1
    assert row["n"] == 4
    low, high = row["robust_interval"]
    assert 0 <= low < row["robust"] < high <= 1


def test_a_row_that_does_not_adapt_shows_robust_0_everywhere():
    done = outcome(before=[[1, 0, 0]], static=[[1, 1, 1]], reattacked=[[0, 0, 0]])
    row = from_records([record(shots=0, result=done)]).iloc[0]
    assert row["static"] == row["reattacked"] == row["robust"] == row["robust_before"] == 1 / 3
    assert row["inflation"] == row["gain"] == 0
    assert row["inflation_interval"] == row["gain_interval"] == (0, 0)


@pytest.mark.parametrize("status", ["skipped", "failed"])
def test_what_was_not_scored_is_empty_and_never_zero(status):
    frame = from_records([record(status=status, reason="needs 3 channels"), record()])
    assert frame.loc[0, list(NUMBERS)].isna().all()
    assert frame.loc[1, list(NUMBERS)].notna().all()
    cell = to_json_cells(frame)[0]
    assert [cell[name] for name in NUMBERS] == [None] * len(NUMBERS)
    assert cell["robust_interval"] is None
    assert cell["reason"] == "needs 3 channels"


def test_seen_has_three_values():
    frame = from_records([record(unseen=value) for value in (True, False, None)])
    assert [cell["unseen"] for cell in to_json_cells(frame)] == [True, False, None]


def test_json_is_strict_and_survives_a_round_trip():
    records = [
        *matrix(attacks=("fgsm", "square"), shots=(0, 5)),
        record(status="failed", reason="x"),
    ]
    cells = to_json_cells(from_records(records))
    again = json.loads(json.dumps(cells, allow_nan=False))
    assert again == cells
    assert not any(isinstance(v, float) and math.isnan(v) for cell in cells for v in cell.values())


def test_no_records_give_an_empty_table_with_every_column():
    frame = from_records([])
    assert len(frame) == 0
    assert set(COLUMNS) <= set(frame.columns)
    assert to_json_cells(frame) == []


def test_a_folder_gives_the_table_of_its_records(tmp_path):
    records = matrix(attacks=("fgsm", "jsma"), shots=(0, 5))
    for each in records:
        write_record(tmp_path, each)
    key = ["defense", "attack", "shots"]
    ours, direct = (frame.sort_values(key) for frame in (load(tmp_path), from_records(records)))
    pd.testing.assert_frame_equal(
        ours.drop(columns="verdicts").reset_index(drop=True),
        direct.drop(columns="verdicts").reset_index(drop=True),
    )


def test_an_empty_folder_is_one_clear_line(tmp_path):
    with pytest.raises(
        UsageError, match=r"expected records below .*got none.*benchmark run"
    ) as info:
        load(tmp_path)
    assert "\n" not in str(info.value)


def test_a_folder_of_rubbish_says_what_the_first_rubbish_is(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.json").write_text("{")
    with pytest.raises(UsageError, match=r"1 unreadable files \(first: .*a\.json"):
        load(tmp_path)


def test_intervals_cover_the_value_they_belong_to():
    frame = from_records(matrix(shots=(0, 5)))
    for name in ("clean", "static", "reattacked", "robust", "inflation", "gain", "robust_before"):
        ends = np.array(frame[f"{name}_interval"].tolist())
        assert (ends[:, 0] <= frame[name] + 1e-9).all(), name
        assert (frame[name] <= ends[:, 1] + 1e-9).all(), name


def test_rows_are_those_of_itertuples():
    """Integers that may be missing, text and nothing at all."""
    frame = from_records(
        [*matrix(attacks=("fgsm", "cw"), shots=(0, 5)), record(status="failed", reason="x")]
    )
    for part in (frame.drop(columns="verdicts"), frame[["n", "unseen"]], frame[:0]):
        ours, theirs = rows(part), list(part.itertuples(index=False))
        assert [row._fields for row in ours] == [row._fields for row in theirs]
        assert [tuple(map(str, row)) for row in ours] == [tuple(map(str, row)) for row in theirs]
