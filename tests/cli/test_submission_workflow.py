"""The workflow that takes pull requests with records: its own script, on true and false ones."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from submission_fixtures import MODEL, worse


def judge():
    """The script of the workflow that takes pull requests, and the whole of it."""
    path = Path(__file__).parents[2] / ".github" / "workflows" / "submission.yml"
    text = path.read_text()
    script = text[text.index("        run: |\n", text.index("- name: Judge")) :]
    return textwrap.dedent(script.split("\n", 1)[1]), text


def test_the_workflow_gives_no_rights_and_runs_nothing_of_the_fork():
    _, text = judge()
    assert "on:\n  pull_request:\n" in text
    assert "pull_request_target" not in text.split("name:", 1)[1]
    assert "permissions:\n  contents: read\n" in text
    assert "secrets." not in text
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")


@pytest.fixture
def pull_request(tmp_path):
    """Runs the script on a pull request that brings files: exit code, and what is posted."""

    def call(files, renamed=()):
        theirs, summary = tmp_path / "theirs", tmp_path / "summary.md"
        theirs.mkdir()
        git = ["git", "-C", theirs, "-c", "user.name=x", "-c", "user.email=x@example.org"]
        subprocess.run([*git, "init", "-q"], check=True)
        for old, _ in renamed:
            (theirs / old).write_bytes(files[old].read_bytes())
        commit = ["commit", "-q", "--allow-empty", "-m"]
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, *commit, "base"], check=True)
        for name, file in files.items():
            (theirs / name).write_bytes(file.read_bytes())
        for old, new in renamed:
            (theirs / old).rename(theirs / new)
        subprocess.run([*git, "add", "-A"], check=True)
        subprocess.run([*git, *commit, "mine"], check=True)
        env = os.environ | {"BASE": "HEAD~1", "GITHUB_STEP_SUMMARY": str(summary)}
        env |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        words = ["bash", "-c", judge()[0]]
        ended = subprocess.run(
            words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert (ended.stdout, ended.stderr) == ("", ""), "GitHub takes commands from what is said"
        return ended.returncode, summary.read_text()

    return call


def test_a_true_submission_is_green_and_its_table_posted(pull_request, handed_in, tmp_path):
    code, told = pull_request({"it's `mine` $(touch owned).records.gz": handed_in})
    assert code == 0, told
    assert "verified: hashes: 8 of 8" in told and "refused: " not in told
    assert "| defense | network | adaptation | rank@" in told and MODEL in told
    assert not list(tmp_path.rglob("owned"))


def test_each_false_one_is_told_and_turns_it_red(pull_request, handed_in, changed, tmp_path):
    def weaken(record):
        record["provenance"]["attack_options"]["steps"] = 1
        return record

    def mix(record):
        first = record["cell"]["attack"] == "fgsm" and not record["cell"]["budget"]["shots"]
        return worse(record) if first else record

    def old(record):
        record["fingerprint"]["benchmark.protocol version"] = "0"
        return record

    forged = tmp_path / "forged.records.gz"
    text = gzip.decompress(handed_in.read_bytes()).replace(b'"seconds": ', b'"seconds": 1', 1)
    forged.write_bytes(gzip.compress(text))
    none = tmp_path / "none.records.gz"
    none.write_text("no archive")
    code, told = pull_request({
        "weak.records.gz": changed(weaken, "weak"), "forged.records.gz": forged,
        "mixed.records.gz": changed(mix, "mixed"), "old.records.gz": changed(old, "old"),
        "none.records.gz": none, "true.records.gz": handed_in,
    })  # fmt: skip
    assert code == 1
    for name, said in (
        ("weak", "weak.records.gz:\n      refused: standard[epochs=1] on digits: other options"),
        ("mixed", "mixed.records.gz:\n      refused: standard[epochs=1] on digits: impossible"),
        ("old", "old.records.gz:\n      refused: standard[epochs=1] on digits: another protocol"),
        ("forged", "error: theirs/forged.records.gz, line 1: not a readable record"),
        ("none", "error: theirs/none.records.gz: not a readable file of records"),
        ("true", "true.records.gz:\n      verified: hashes: 8 of 8"),
    ):
        assert f"\n    {said}" in told, name
    assert told.count("## digits\n") == 4, "one for each that can be read"


def test_one_that_is_moved_is_judged_too(pull_request, handed_in):
    code, told = pull_request(
        {"a.records.gz": handed_in}, renamed=[("a.records.gz", "b.records.gz")]
    )
    assert code == 0 and "b.records.gz:" in told
