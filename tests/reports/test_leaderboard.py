"""The leaderboard: its numbers, who is ranked, and what is written."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from report_records import ATTACKS, FAMILIES, folder, line, matrix, one, outcome, record, without

from reports.archive.reference import shipped
from reports.leaderboard.per_class import by_class
from reports.leaderboard.submission import CLAIMED
from reports.leaderboard.table import COLUMNS, board
from reports.leaderboard.threats import missing
from reports.leaderboard.write import write_leaderboard
from reports.tidy.frame import from_records
from reports.tidy.rows import result_rows


@pytest.fixture(scope="module")
def small():
    return matrix(attacks=ATTACKS, shots=(0, 5), n=60)


def test_the_numbers_over_all_attacks_are_those_of_the_headline(small):
    frame = from_records(small)
    table = board(frame)
    assert list(table.columns) == list(COLUMNS)
    for defense in ("standard", "pgd_at", "meta_adv"):
        ours, theirs = one(table, defense), line(frame, defense, 5)
        for name in ("clean", "static", "robust", "inflation", "gain", "robust_interval"):
            assert getattr(ours, name) == getattr(theirs, name), name
        assert ours.rank == theirs.rank
        assert ours.unseen == line(frame, defense, 5, scope="unseen", over="union").robust


def cell(verdicts, attack, defense="standard", **more):
    """A trained model's record: right where `verdicts` is 1."""
    table = [verdicts]
    return record(attack, defense, 0, outcome(table, table, table), **more)


def test_worst_family_and_autoattack_are_unions_by_hand():
    records = [
        cell([1, 1, 0, 1], "fgsm"), cell([1, 0, 1, 1], "pgd_linf"),  # together 2 of 4
        cell([1, 1, 1, 0], "pgd_l2"),  # alone 3 of 4
        cell([1, 1, 0, 0], "aa_linf", family="score-based"),
        cell([0, 1, 1, 0], "autoattack_l2[eps=1]", family="spatial"),
        cell([1, 1, 1, 1], "square", family="noise"),
    ]  # fmt: skip
    row = one(board(from_records(records)), "standard", 0)
    assert row.worst == 0.5
    assert row.worst_family in ("linf-gradient", "score-based", "spatial")
    assert row.autoattack == 0.25
    assert row.unseen == 0.0
    assert row.robust == np.mean([2, 3, 2, 2, 4]) / 4


def test_a_threat_is_ranked_by_its_own_attacks_alone(small):
    frame = from_records(small)
    table = board(frame)
    assert set(table["threat"]) == {"all", "linf", "l2"}
    only = board(frame[frame["norm"] == "linf"].reset_index(drop=True))
    for defense in ("standard", "pgd_at", "meta_adv"):
        ours, theirs = one(table, defense, 5, "linf"), one(only, defense)
        assert (ours.robust, ours.rank, ours.attacks) == (theirs.robust, theirs.rank, 3)


def test_a_row_with_a_hole_says_what_is_missing_and_is_not_ranked(small):
    records = without(small, "pgd_at", "pgd_l2", 5)
    records.append(record("pgd_l2", "pgd_at", 5, status="failed", reason="NaN"))
    records = without(records, "pgd_at", "square", 5)
    table = board(from_records(records))
    row = one(table, "pgd_at")
    assert pd.isna(row.rank)
    assert pd.isna(row.robust)
    assert row.missing == "2 of 4 cells: pgd_l2 failed, square not run"
    assert sorted(one(table, name).rank for name in ("standard", "meta_adv")) == [1, 2]
    linf = one(table, "pgd_at", 5, "l2")
    assert linf.missing == "1 of 1 cells: pgd_l2 failed"
    assert one(table, "pgd_at", 0).missing == ""


def test_many_holes_are_counted(small):
    records = matrix(attacks=tuple(FAMILIES), shots=(0,), n=20)
    records = [r for r in records if r.cell.defense != "pgd_at" or r.cell.attack == "fgsm"]
    (found,) = (
        x
        for x in result_rows(from_records(records))
        if x.key.defense == "pgd_at" and x.scope == "all"
    )
    assert re.fullmatch(r"9 of 10 cells: (\w+ not run, ){3}\w+ not run and 5 more", missing(found))


def test_rows_on_other_images_are_not_ranked(small):
    other = [
        r.model_copy(update={"query": "other"}) if r.cell.defense == "pgd_at" else r for r in small
    ]
    row = one(board(from_records(other)), "pgd_at")
    assert pd.isna(row.rank)
    assert "other images" in row.missing


def test_rows_that_no_test_separates_are_tied():
    rng = np.random.default_rng(0)
    good = rng.integers(0, 2, 100) | rng.integers(0, 2, 100)
    nearly = good.copy()
    nearly[:3] ^= 1
    records = [
        cell(good, "fgsm", "a"), cell(nearly, "fgsm", "b"), cell(good * 0, "fgsm", "c")
    ]  # fmt: skip
    table = board(from_records(records))
    a, b, c = (one(table, name, 0) for name in "abc")
    assert (a.tied, b.tied, c.tied) == ([("small_cnn", "b")], [("small_cnn", "a")], [])
    assert (a.rank_low, a.rank_high) == (b.rank_low, b.rank_high) == (1, 2)
    assert (c.rank, c.rank_low, c.rank_high) == (3, 3, 3)


def test_the_order_of_records_does_not_matter(small):
    table = board(from_records(small))
    shuffled = [small[i] for i in np.random.default_rng(0).permutation(len(small))]
    again = board(from_records(shuffled))
    key = ["defense", "shots", "threat"]
    names = [*key, "status", "rank", "rank_low", "rank_high", "robust", "worst", "unseen"]
    first, second = (t.sort_values(key)[names].reset_index(drop=True) for t in (table, again))
    pd.testing.assert_frame_equal(first, second)


def test_all_files_are_written_say_the_same_and_are_alike_twice(tmp_path, small):
    results = folder(tmp_path / "results", small)
    paths = write_leaderboard([results], tmp_path / "a")
    assert [path.name for path in paths] == [
        f"leaderboard.{kind}" for kind in ("html", "md", "csv", "tex", "json")
    ]
    html, md, csv, tex, text = (path.read_text() for path in paths)
    again = write_leaderboard([results], tmp_path / "b")
    assert [path.read_text() for path in again] == [html, md, csv, tex, text]
    table = board(from_records(small))
    row = one(table, "meta_adv")
    number = f"{100 * row.robust:.1f}"
    low, high = (f"{100 * end:.1f}" for end in row.robust_interval)
    for page in (html, md, tex):
        assert number in page
    assert f"{number} ({low}\N{EN DASH}{high})" in md
    assert f"{number} ({low}--{high})" in tex
    for found in (pd.read_csv(io.StringIO(csv)), pd.DataFrame(json.loads(text)["rows"])):
        assert len(found) == len(table)
        assert one(found, "meta_adv").robust == pytest.approx(row.robust)
        assert one(found, "meta_adv").robust_low == pytest.approx(row.robust_interval[0])
        assert set(CLAIMED) <= set(found.columns)


def test_the_page_asks_the_network_for_nothing(tmp_path, small):
    html = write_leaderboard([folder(tmp_path / "r", small)], tmp_path / "out")[0].read_text()
    assert "default-src 'none'" in html
    links = re.findall(r"""(?:src|href|action|poster|data)=["']?([^"' >]+)""", html)
    assert all(link.startswith(("#", "data:,")) for link in links)
    assert len(links) == 2
    assert not re.findall(r"url\(|@import|https?://", html)


def test_the_command_that_makes_a_row_again_is_a_plan_of_its_cells(tmp_path, small, command):
    html = write_leaderboard([folder(tmp_path / "r", small)], tmp_path / "out")[0].read_text()
    words = re.search(r"Make it again: <code>python -m benchmark (.*?)</code>", html)[1]
    ended = command(f"{words} --dry-run --json --results {tmp_path / 'new'}")
    assert ended.code == 0, ended.err
    cells = json.loads(ended.out)["cells"]
    assert {c["attack"] for c in cells} == set(ATTACKS)
    assert {c["budget"]["shots"] for c in cells} == {0, 5}
    assert {c["episodes"] for c in cells if c["budget"]["shots"]} == {3}


def test_classes_are_the_numbers_of_their_images_alone():
    labels = {"q0": [0, 0, 1, 1, 1]}  # of five images, the first four are scored
    records = [
        record("fgsm", "a", 0, outcome([[1, 0, 1, 0]], [[1, 0, 1, 0]], [[1, 0, 1, 0]])),
        record("pgd_l2", "a", 0, outcome([[1, 1, 1, 0]], [[1, 1, 1, 0]], [[1, 1, 1, 0]])),
        record("fgsm", "b", 0, outcome([[1] * 4], [[1] * 4], [[1] * 4]), query="other"),
    ]
    table = by_class(from_records(records), labels)
    found = table.set_index(["defense", "label"])
    assert found["robust"].to_dict() == {("a", 0): 0.75, ("a", 1): 0.5}
    assert found["n"].to_dict() == {("a", 0): 2, ("a", 1): 2}
    assert by_class(from_records(records), {}).empty


def test_the_mean_over_classes_is_the_row(small, tmp_path):
    labels = {"q0": [i % 4 for i in range(60)]}
    frame = from_records(small)
    table = by_class(frame, labels)
    mine = table[(table["defense"] == "meta_adv") & (table["shots"] == 5)]
    assert mine["robust"].mean() == pytest.approx(one(board(frame), "meta_adv").robust)
    results = folder(tmp_path / "r", small)
    html = write_leaderboard([results], tmp_path / "o", labels=lambda _: labels)[0].read_text()
    assert html.count('<table class="heat classes">') == 3


def test_labels_come_from_the_data_set_whose_hash_the_records_name(tmp_path, command):
    (path,) = [path for path in shipped() if path.name.startswith("digits")]
    ended = command("leaderboard", "--results", path, "--per-class", "--out", tmp_path)
    assert (ended.code, ended.err) == (0, "")
    html = (tmp_path / "leaderboard.html").read_text()
    (first, *_) = re.findall(r'<table class="heat classes">(.*?)</table>', html, flags=re.DOTALL)
    sizes = [int(n) for n in re.findall(r'<th scope="row">\d</th><td>(\d+)</td>', first)]
    assert len(sizes) == 10
    assert sum(sizes) == 200
