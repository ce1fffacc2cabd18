"""What a leaderboard must refuse, in one line and with nothing written; names that cannot harm."""

from __future__ import annotations

import gzip
import json

import pytest
from harmless import harmless
from report_records import HOSTILE, folder, matrix, outcome, record

from benchmark.core.errors import UsageError
from benchmark.core.schema import About
from benchmark.results.store import record_path, write_record
from reports.archive.reference import read_file, write_file
from reports.leaderboard.write import Claims, write_leaderboard

FORMULAS = [
    "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", '"><img src=x onerror=alert(1)>', "{{ 7*7 }}",
    "</script><script>alert(1)</script>", "' onclick='x", "\\input{x}_%&#~^",
]  # fmt: skip
OUTCOME = outcome([[1, 0, 0]], [[1, 1, 0]], [[0, 1, 0]])


@pytest.fixture
def results(tmp_path):
    return folder(tmp_path / "results", [record("fgsm", "a", k, OUTCOME) for k in (0, 5)])


@pytest.fixture
def refused(command, tmp_path):
    """The command fails in one line that says all of this, and leaves what was there."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "leaderboard.html").write_text("mine")

    def check(*expected, places, options=()):
        words = [word for place in places for word in ("--results", place)]
        command("leaderboard", *words, "--out", out, *options).refused(*expected)
        assert [path.name for path in out.iterdir()] == ["leaderboard.html"]
        assert (out / "leaderboard.html").read_text() == "mine"

    return check


def spoil(results, change):
    (path, *_) = sorted((results / "records").rglob("*.json"))
    path.write_text(change(path.read_text()))
    return path


def test_a_newer_schema(results, refused):
    path = spoil(results, lambda text: text.replace('"schema_version": 3', '"schema_version": 4'))
    refused(str(path), "written by schema 4", "upgrade", places=[results])


def test_a_truncated_record(results, refused):
    path = spoil(results, lambda text: text[: len(text) // 2])
    refused(str(path), "not a readable record", places=[results])


def test_a_record_that_is_none(results, refused):
    path = spoil(results, lambda text: "[" * 100_000)
    refused(str(path), "not a readable record", places=[results])


def test_an_empty_folder(tmp_path, results, refused):
    refused("expected records below", str(tmp_path / "no"), places=[results, tmp_path / "no"])


def test_a_file_in_the_place_of_the_output(tmp_path, results, command):
    (tmp_path / "file").write_text("mine")
    ended = command("leaderboard", "--results", results, "--out", tmp_path / "file")
    ended.refused("expected a folder", "got the file")
    assert (tmp_path / "file").read_text() == "mine"


def test_duplicates_that_agree_count_once(tmp_path, results):
    copy = folder(tmp_path / "copy", [record("fgsm", "a", k, OUTCOME) for k in (0, 5)])
    alone, both = (
        write_leaderboard(places, tmp_path / "o")[4].read_text()
        for places in ([results], [results, copy])
    )
    assert alone == both


@pytest.mark.parametrize(
    ("changed", "what"),
    [({"result": outcome([[1, 0, 0]], [[1, 1, 1]], [[0, 1, 0]])}, "different verdicts"),
     ({"status": "failed", "reason": "boom", "result": None, "limit": 3}, "different status"),
     ({"unseen": False}, "different unseen"), ({"query": "other"}, "different query")],
)  # fmt: skip
def test_duplicates_that_disagree_name_both_files(tmp_path, results, refused, changed, what):
    other = record("fgsm", "a", 5, **({"result": OUTCOME} | changed))
    path = write_record(tmp_path / "b", other)
    refused(
        str(path), str(record_path(results, other.cell)), what, places=[results, tmp_path / "b"]
    )


def test_one_name_for_two_strengths(tmp_path, results, refused):
    path = write_record(tmp_path / "b", record("fgsm", "b", 0, OUTCOME, threat="linf 0.3"))
    refused(str(path), "linf 0.15", "linf 0.3", places=[results, tmp_path / "b"])


def test_data_sets_do_not_mix(tmp_path, results):
    folder(results, [record("fgsm", "b", 0, OUTCOME, dataset="mnist", threat="linf 0.3")])
    rows = json.loads(write_leaderboard([results], tmp_path / "o")[4].read_text())["rows"]
    assert {(row["dataset"], row["defense"], row["rank"]) for row in rows} == {
        ("digits", "a", 1), ("mnist", "b", 1)
    }  # fmt: skip


def hostile(name):
    more = {"dataset": name, "network": name, "family": name, "threat": name}
    said = {field: name for field in About.model_fields if field != "year"}
    titled, labelled = (About(**said | {"label": label}) for label in ("", f"label {name}"[:300]))
    found = [
        record(name, name, 0, OUTCOME, **more),
        record(name, name, 5, OUTCOME, flags=[name], **more),
        record("b", name, 5, status="failed", reason=name, **more),
        record(name, f"{name}2", 5, OUTCOME, **more), record("b", f"{name}2", 5, OUTCOME, **more),
    ]  # fmt: skip
    return [
        one.model_copy(update={"provenance": one.provenance.model_copy(update={"about": about})})
        for one, about in zip(found, [titled] * 3 + [labelled] * 2, strict=True)
    ]


def written(tmp_path, name):
    return [
        path.read_text()
        for path in write_leaderboard([folder(tmp_path / "r", hostile(name))], tmp_path / "o")
    ]


@pytest.mark.parametrize("name", HOSTILE + FORMULAS)
def test_hostile_names_change_nothing_but_text(tmp_path, name):
    html, md, table, tex, text = written(tmp_path, name)
    other = "../../y" if name.startswith("..") else "name"  # of two folders a hash tells apart
    benign = written(tmp_path / "benign", other)[0]
    harmless((html, md, table, tex), benign)
    assert json.loads(text)["rows"][0]["dataset"] == name
    assert {path.name for path in tmp_path.iterdir()} == {"r", "o", "benign"}


def test_a_file_of_records_is_the_folder(tmp_path):
    records = matrix(attacks=("fgsm", "square"), shots=(0, 5), n=30)
    results = folder(tmp_path / "r", records)
    path = write_file(records, tmp_path / "mine.records.gz")
    assert (
        write_file(reversed(records), tmp_path / "b.records.gz").read_bytes() == path.read_bytes()
    )
    assert sorted(map(repr, read_file(path))) == sorted(map(repr, records))
    one, other = (
        json.loads(write_leaderboard([place], tmp_path / "o")[4].read_text())["rows"]
        for place in (results, path)
    )
    key = ("defense", "shots", "threat")
    assert sorted(one, key=lambda r: [r[k] for k in key]) == sorted(
        other, key=lambda r: [r[k] for k in key]
    )


def test_a_spoilt_file_of_records(tmp_path, refused):
    path = tmp_path / "x.records.gz"
    for content, expected in (
        (b"rubbish", "not a readable file of records"),
        (gzip.compress(b"{}")[:-9], "not a readable file of records"),
        (gzip.compress(b"{"), "line 1: not a readable record"),
        (gzip.compress(b"{}"), "line 1: not a readable record (it lacks the hash"),
        (gzip.compress(b'{"schema_version": 9}'), "written by schema 9"),
        (gzip.compress(b""), "expected records"),
    ):
        path.write_bytes(content)
        refused(expected, places=[path])
    with pytest.raises(UsageError, match="ends in"):
        write_file([record()], tmp_path / "x.json")


@pytest.fixture
def submission(tmp_path, results):
    return json.loads(write_leaderboard([results], tmp_path / "theirs")[4].read_text())


@pytest.fixture
def judged(tmp_path, results, submission, refused):
    def check(change, *expected):
        change(submission)
        path = tmp_path / "claim.json"
        path.write_text(json.dumps(submission))
        refused(str(path), *expected, places=[results], options=["--submission", path])

    return check


def test_a_true_submission_is_taken(tmp_path, results, submission):
    path = tmp_path / "theirs" / "leaderboard.json"
    assert write_leaderboard([results], tmp_path / "o", claims=Claims([path]))


def test_a_score_that_the_verdicts_do_not_give(judged):
    def lie(content):
        content["rows"][-1]["robust"] += 0.1

    judged(lie, "robust says 0.4333", "the verdicts say 0.3333")


def test_a_score_instead_of_a_hole_and_a_row_without_records(judged, submission):
    def invent(content):
        content["rows"].append(content["rows"][0] | {"defense": "mine<b>"})

    judged(invent, "claims mine<b> on digits", "no records")


@pytest.mark.parametrize(
    ("content", "expected"),
    [({"format": None}, "expected a leaderboard.json"), ({"schema_version": 2}, "schema 2"),
     ({"rows": 3}, "list of rows"), ({"rows": [{}]}, "in every row")],
)  # fmt: skip
def test_a_submission_that_is_none(judged, content, expected):
    judged(lambda found: found.update(content), expected)
