"""The records that the project ships, and files of records that others send."""

from __future__ import annotations

import json

import numpy as np
import pytest
from report_records import folder, outcome, record

from benchmark.plan.matrix import make_plan
from benchmark.plan.request import make_request, read_suite
from reports.archive.reference import SUFFIX, read_file, shipped, write_file

STANDARD = "standard[passes=1000000]"


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.name)
def test_a_shipped_reference_has_every_cell_of_its_suite_and_is_small(path):
    assert path.stat().st_size < 2**20
    reference = [*read_file(path)]
    assert {r.status for r in reference} == {"done"}
    dataset = path.name.removesuffix(SUFFIX)
    plan = make_plan(make_request({"dataset": dataset}), read_suite("reference"))
    assert {r.cell for r in reference} == set(plan.cells)


def test_the_shipped_reference_stands_beside_other_defenses(tmp_path, command):
    reference = [r for path in shipped() if path.name.startswith("digits") for r in read_file(path)]
    names = {r.cell.attack for r in reference}
    whole = np.ones((1, 200), bool)
    mine = [
        record(
            name, defense, 0, outcome(whole, whole, whole), query=reference[0].query,
            family=r.family, threat=r.threat, options=r.provenance.attack_options,
        )
        for defense in ("mine", STANDARD)
        for name, r in {r.cell.attack: r for r in reference}.items()
    ]  # fmt: skip
    results = folder(tmp_path / "mine", mine)
    ended = command(
        "leaderboard", "--with-reference", "--results", results, "--out", tmp_path / "o"
    )
    assert ended.code == 0, ended.err
    rows = json.loads((tmp_path / "o" / "leaderboard.json").read_text())["rows"]
    rows = [r for r in rows if r["shots"] == 0 and r["threat"] == "all"]
    start = {r["defense"]: r for r in rows if r["dataset"] == "digits"}
    assert set(start) == {"mine", *(r.cell.defense for r in reference)}
    assert start[STANDARD]["robust"] == 1.0  # ours, not the reference's
    assert start["mine"]["rank"] == 1
    assert start["mine"]["attacks"] == len(names) == 7
    assert start["pgd_at[passes=1000000]"]["rank"] > 2


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.name)
def test_the_reference_is_said_to_be_made_by_the_command_that_made_it(path):
    words = " ".join((path.parent / "README.md").read_text().replace("\\\n", " ").split())
    commands = {r.provenance.command for r in read_file(path)}
    assert len(commands) == 1
    said = commands.pop().replace(" --results DIR --jobs 1", "").removesuffix(" --quiet")
    assert said in words


def test_commands_in_a_file_of_records_name_no_local_folder(tmp_path):
    said = "python -m benchmark run --data-dir /home/me/data --results='my results' --seeds 0"
    one = record()
    provenance = one.provenance.model_copy(update={"command": said})
    made = write_file(
        [one.model_copy(update={"provenance": provenance})], tmp_path / "x.records.gz"
    )
    (read,) = read_file(made)
    expected = "python -m benchmark run --data-dir DIR --results DIR --seeds 0"
    assert read.provenance.command == expected
    assert read.outcome == one.outcome


def test_the_command_that_writes_a_file_of_records(tmp_path, command):
    results = folder(tmp_path / "r", [record("pgd_l2"), record("square")])
    path = tmp_path / "mine.records.gz"
    ended = command("reference", "--results", results, "--out", path)
    assert ended.out == f"{path}: 2 records\n"
    assert len([*read_file(path)]) == 2
