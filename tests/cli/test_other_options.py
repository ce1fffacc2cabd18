"""Attacks of one name with other options, and records that do not say how they were made."""

import pandas as pd
import pytest
from report_records import folder, matrix, one, record

from reports.archive.trust import canonical, differing
from reports.comparison.table import compare
from reports.leaderboard.table import board
from reports.leaderboard.write import write_leaderboard
from reports.tidy.aggregate import headline
from reports.tidy.frame import from_records
from reports.tidy.warnings import warnings

USUAL = {"eps": 0.15, "steps": 40, "loss": "ce", "step_size": None}
OTHER = {
    "no strength": {"eps": 0.0}, "fewer steps": {"steps": 10}, "a value for none": {"step_size": 1},
    "true for one": {"steps": True}, "text for a number": {"steps": "40"}, "more": {"note": "x"},
    "none for a value": {"loss": None},
}  # fmt: skip
SAME = {"a float": {"steps": 40.0}, "the same number": {"eps": 0.150}}


def rows_with(**options_of):
    """A row for each name, all right alike, under two attacks; options of `fgsm` are as given."""
    records = matrix(tuple(options_of), ("fgsm", "pgd_l2"), (0, 5), n=50)
    return [
        with_options(each, options_of[each.cell.defense] if each.cell.attack == "fgsm" else {})
        for each in records
    ]


def with_options(each, options):
    provenance = each.provenance.model_copy(update={"attack_options": options})
    return each.model_copy(update={"provenance": provenance})


@pytest.mark.parametrize("changed", OTHER.values(), ids=OTHER)
def test_a_row_under_other_options_is_not_ranked(changed):
    records = rows_with(a=USUAL, b=USUAL, mine=USUAL | changed)
    frame = from_records(records)
    table = board(frame)
    for k in (0, 5):
        row = one(table, "mine", k)
        assert pd.isna(row.rank)
        assert row.missing.startswith("not ranked, other options: fgsm has ")
        (name,) = changed
        assert f"{name} " in row.missing
        assert sorted(one(table, each, k).rank for each in "ab") == [1, 2]
    assert one(table, "mine", 5, "l2").rank > 0  # the other attack is the same for all
    ranks = headline(frame).query("scope == 'all' and shots == 5").groupby("defense")["rank"]
    assert ranks.count().to_dict() == {"a": 2, "b": 2, "mine": 0}
    assert [f.message for f in warnings(frame) if f.kind == "unranked"]


def test_an_attack_without_options_is_not_one_that_has_them():
    row = one(board(from_records(rows_with(a=USUAL, b=USUAL, mine={}))), "mine")
    assert row.missing.endswith(
        'eps unsaid, not 0.15, loss unsaid, not "ce", step_size unsaid, not null, '
        "steps unsaid, not 40"
    )


@pytest.mark.parametrize("changed", SAME.values(), ids=SAME)
def test_equal_numbers_are_equal_options(changed):
    table = board(from_records(rows_with(a=USUAL, b=USUAL, mine=USUAL | changed)))
    assert sorted(one(table, each).rank for each in ("a", "b", "mine")) == [1, 2, 3]
    assert canonical(USUAL) == canonical(dict(reversed([*(USUAL | changed).items()])))
    assert differing(canonical(USUAL), canonical(USUAL | changed)) == ""


def test_of_two_rows_with_other_options_nobody_can_say_which_to_rank():
    table = board(from_records(rows_with(a=USUAL, b=USUAL | {"eps": 0.0})))
    for name, says in (("a", "eps 0.15, not 0"), ("b", "eps 0, not 0.15")):
        assert pd.isna(one(table, name).rank)
        assert one(table, name).missing.endswith(says)


def test_the_references_say_what_is_usual():
    records = rows_with(ours=USUAL, x=USUAL | {"steps": 1}, y=USUAL | {"steps": 1})
    table = board(from_records(records), {("digits", "small_cnn", "ours")})
    assert one(table, "ours").rank == 1
    assert pd.isna(one(table, "x").rank)
    assert "steps 1, not 40" in one(table, "y").missing


def test_one_data_set_does_not_judge_another():
    records = rows_with(a=USUAL)
    records += [each.model_copy(update={"cell": each.cell.model_copy(update={"dataset": "mnist"})})
                for each in rows_with(a=USUAL | {"eps": 0.3})]  # fmt: skip
    table = board(from_records(records))
    assert table.loc[table["threat"] == "all", "rank"].tolist() == [1] * 4


def test_one_row_whose_seeds_were_attacked_otherwise_has_a_hole():
    records = [with_options(each, USUAL) for each in matrix(("a",), ("fgsm",), (0,), seeds=(0, 1))]
    records[1] = with_options(records[1], USUAL | {"steps": 10})
    row = one(board(from_records(records)), "a", 0)
    assert row.missing == "1 of 2 cells: fgsm scored with other options"


def test_cells_of_two_strengths_are_not_compared(tmp_path):
    folders = [
        folder(
            tmp_path / name,
            [record("fgsm", "a", 0, options=USUAL | {"steps": steps}), record("cw", "a", 0)],
        )
        for name, steps in (("before", 40), ("after", 10))
    ]
    found = compare(*map(str, folders), tmp_path)
    assert set(found.table["attack"]) == {"clean", "cw"}
    assert any('"steps": 10.0' in line for line in found.left_out)


def test_two_records_of_one_cell_under_other_options_are_refused(tmp_path, command):
    words = []
    for name, steps in (("x", 40), ("y", 10)):
        place = folder(tmp_path / name, [record("fgsm", "a", 0, options=USUAL | {"steps": steps})])
        words += ["--results", place]
    ended = command("leaderboard", *words, "--out", tmp_path / "o")
    ended.refused("same cell under other options", "steps 40, not 10", "x/records", "y/records")


# What a record does not say.


def unsaid(part, value):
    one = record("fgsm", "a", 5)
    if part in ("fingerprint", "schema_version"):
        return one.model_copy(update={part: value})
    return one.model_copy(
        update={"provenance": one.provenance.model_copy(update={part: value})}
    )  # fmt: skip


UNSAID = {
    "no fingerprint": ("fingerprint", {}), "no versions": ("versions", {}),
    "fingerprint lacks weights": ("fingerprint", {"data": "x"}),
    "fingerprint lacks data": ("fingerprint", {"weights": "x", "data": ""}),
    "no adaptation settings": ("adaptation", {}),
    "says how it adapted in two ways": ("adaptation", {"shots": 5, "steps": 1}),
    "unchecked": ("schema_version", 1),
}  # fmt: skip


@pytest.mark.parametrize("flag", UNSAID)
def test_what_is_missing_is_a_flag_on_every_page(tmp_path, flag):
    frame = from_records([unsaid(*UNSAID[flag])])
    (found,) = frame["flags"][0]
    assert found.startswith(flag)
    assert [f.message.startswith(flag) for f in warnings(frame) if f.kind == "flag"] == [True]
    results = folder(tmp_path / "r", [unsaid(*UNSAID[flag])])
    for path in write_leaderboard([results], tmp_path / "o"):
        assert flag in path.read_text(), path.name


def test_a_record_that_says_all_has_no_flag_and_a_failed_one_needs_none():
    failed = record("fgsm", status="failed", reason="no").model_copy(update={"fingerprint": {}})
    assert from_records([record("fgsm", "a", k) for k in (0, 5)] + [failed])["flags"].tolist() == [
        [], [], []
    ]  # fmt: skip


def test_the_page_says_what_is_taken_on_trust(tmp_path):
    files = write_leaderboard([folder(tmp_path / "r", [record()])], tmp_path / "o")
    for name in ("html", "md", "tex"):
        (text,) = (path.read_text() for path in files if path.suffix == f".{name}")
        assert "the verdicts of others are taken on trust" in text
