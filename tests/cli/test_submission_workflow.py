"""The workflow that takes pull requests with records: its own script, on true and false ones."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


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


@pytest.mark.parametrize("true", [True, False])
def test_the_workflow_posts_the_table_and_is_red_where_something_is_refused(
    handed_in, changed, tmp_path, true
):
    def weaken(record):
        record["provenance"]["attack_options"]["steps"] = 1
        return record

    theirs = tmp_path / "theirs"
    theirs.mkdir()
    git = ["git", "-C", theirs, "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "base"], check=True)
    name = "it's `mine` $(touch owned).records.gz"
    (theirs / name).write_bytes((handed_in if true else changed(weaken)).read_bytes())
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "mine"], check=True)
    summary = tmp_path / "summary.md"
    env = os.environ | {"BASE": "HEAD~1", "GITHUB_STEP_SUMMARY": str(summary)}
    env |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = ["bash", "-c", judge()[0]]
    ended = subprocess.run(
        words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == (0 if true else 1), ended.stderr
    told = summary.read_text()
    assert "verified: hashes: 8 of 8" in told
    assert ("refused: " in told) is not true
    assert "| defense | adaptation | rank@" in told
    assert not list(tmp_path.rglob("owned"))
