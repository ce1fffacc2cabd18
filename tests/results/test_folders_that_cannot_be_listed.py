"""Folders that cannot be looked into are an error that names them, whoever reads."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gate_records import folder
from report_records import matrix

from benchmark.core.errors import UsageError
from benchmark.results.folders import files_below
from benchmark.results.store import read_records
from reports.summary.write import write_report
from reports.tidy.sources import gather
from reports.tidy.verdicts import read_strictly

OVERRIDE = (1, 2)
"""CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH: with them root reads what nobody may."""


@pytest.fixture
def results(tmp_path):
    """Two defenses; the folder of one of them is `results/records/digits/small_cnn/b`."""
    records = matrix(defenses=("a", "b"), attacks=("fgsm", "pgd_linf"), shots=(0,), n=20)
    return folder(tmp_path / "results", records)


def locked(path):
    path.chmod(0)


def loop(path):
    (path / "again").symlink_to(path.parent)


def nothing(path):
    path.rename(path.with_name("moved"))
    path.symlink_to("gone")


def around(path):
    path.rename(path.with_name("moved"))
    path.symlink_to(path.name)


def humble():
    """This process, if it is root's, may no more than others."""
    if os.geteuid() == 0:
        for capability in OVERRIDE:
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def called(*words):
    return subprocess.run(
        [sys.executable, "-m", "benchmark", *map(str, words)],
        capture_output=True, text=True, check=False, preexec_fn=humble,
    )  # fmt: skip


WORDS = {
    "report": lambda place: ("report", "--results", place, "--out", place / "out"),
    "leaderboard": lambda place: ("leaderboard", "--results", place, "--out", place / "out"),
    "check": lambda place: ("check", "--update", "--baseline", place / "b", "--results", place),
    "compare": lambda place: ("compare", "a", "b", "--results", place),
    "reference": lambda place: ("reference", "--results", place, "--out", place / "x.records.gz"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="permissions of this system")
@pytest.mark.parametrize("what", WORDS)
def test_every_command_names_a_locked_folder(results, what):
    secret = results / "records" / "digits" / "small_cnn" / "b"
    locked(secret)
    try:
        ended = called(*WORDS[what](results))
    finally:
        secret.chmod(0o755)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert f"cannot look into {secret} (Permission denied)" in line
    assert not (results / "out").exists()


READERS = [read_records, lambda place: gather([place]), read_strictly,
           lambda place: write_report(place, place / "out")]  # fmt: skip


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("spoil", "why"),
    [(loop, "a link to a folder it lies in"), (nothing, "No such file"), (around, "Too many")],
)
def test_every_reader_names_links_that_lead_nowhere(results, read, spoil, why):
    path = results / "records" / "digits" / "small_cnn" / "b"
    spoil(path)
    with pytest.raises(UsageError, match=f"cannot look into {path}.*{why}"):
        read(results)


def test_a_folder_that_fails_while_it_is_listed(results, monkeypatch):
    path, real = results / "records" / "digits", os.scandir

    def scandir(folder):
        if Path(folder) == path:
            raise OSError(5, "Input/output error")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=f"{path} .Input/output error"):
        read_records(results)


def test_a_file_where_the_records_should_be(tmp_path):
    (tmp_path / "records").write_text("")
    with pytest.raises(UsageError, match="Not a directory"):
        read_records(tmp_path)


def test_a_linked_folder_is_read(results, tmp_path):
    """The control: on another disk there are as many records as here."""
    path = results / "records" / "digits"
    before = read_records(results)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert read_records(results) == before
    assert len(before.records) == 4 and not before.problems


def test_other_files_are_let_alone(tmp_path):
    for name in ("a.json", "b/c.json", "b/notes.txt", "b/d/e.png", "b/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "b" / "link").symlink_to(tmp_path / "b" / "notes.txt")
    assert files_below(tmp_path, ".json") == [tmp_path / "a.json", tmp_path / "b" / "c.json"]
    assert files_below(tmp_path / "no", ".json") == []


def test_a_very_deep_folder_is_no_matter(tmp_path):
    deep = tmp_path
    for _ in range(1200):
        deep = deep / "d"
        os.mkdir(deep)
    (deep / "x.json").write_text("")
    assert files_below(tmp_path, ".json") == [deep / "x.json"]
    (deep / "x.json").unlink()
    while deep != tmp_path:  # deeper than what tidies up after tests can go
        deep.rmdir()
        deep = deep.parent


@pytest.mark.parametrize("kind", ["pipe", "folder", "link"])
def test_what_is_no_file_in_the_place_of_a_record_is_named(results, kind):
    (path, *_) = sorted((results / "records").rglob("*.json"))
    path.unlink()
    made = {"pipe": os.mkfifo, "folder": Path.mkdir, "link": lambda p: p.symlink_to("gone")}
    made[kind](path)
    loaded = read_records(results)
    assert len(loaded.records) == 3
    (problem,) = loaded.problems
    assert problem.startswith(f"{path}: not a readable record (")
