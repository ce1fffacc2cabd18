"""What the pages tell to type runs: Python as it stands, commands as far as they are cheap."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^    (?:python -m benchmark|reattack) ((?:.*\\\n)*.*)$", re.MULTILINE)
FILES = {
    "attacks/OWN.md": "flat.py", "baselines/OWN.md": "mine.py",
    "reports/gate/README.md": "test_gate.py",
}  # fmt: skip
"""Pages whose block is a file of the user's."""
SCRIPTS = ("README.md", "benchmark/evaluation/README.md", "benchmark/data/README.md")
"""Pages whose block is typed as it is."""


def pages():
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return listed.stdout.split() or ["README.md"]


def blocks(page):
    return PYTHON.findall((ROOT / page).read_text("utf-8"))


def commands(page):
    """Each command of a page in words, without `python -m benchmark` and what is said after #."""
    for text in COMMAND.findall((ROOT / page).read_text("utf-8")):
        plain = re.sub(r"\[--.*?\]", "", text)  # the brackets of what may be left out
        yield shlex.split(plain.replace("\\\n", " "), comments=True)


def test_every_block_of_python_is_run_somewhere():
    with_code = {page for page in pages() if blocks(page)}
    assert with_code == {*FILES, *SCRIPTS}


@pytest.mark.parametrize("page", SCRIPTS)
def test_what_is_typed_runs(page, tmp_path):
    (code,) = blocks(page)
    done = subprocess.run(
        [sys.executable, "-c", f"import matplotlib\nmatplotlib.use('agg')\n{code}"], cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if page == "README.md":
        said = re.search(r"```text\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)[1]
        assert shape(done.stdout) == shape(said)


def shape(table):
    """A table without its digits: another processor may flip a verdict, no more."""
    return [re.sub(r"[\d.]+", "0", line).split() for line in table.splitlines() if line]


def test_the_defense_of_the_page_trains(tmp_path, run, command):
    name = f"{own_file('baselines/OWN.md', tmp_path)}:Noisy[epochs=2]"
    ended = run("--json", defense=name)
    (cell,) = json.loads(ended.out)["cells"]
    assert cell["status"] == "done" and cell["clean"] > 0.5 and cell["unseen"] is True
    checked = command("contract", "--defense", name)
    assert checked.code == 0, checked.out


def test_the_attack_of_the_page_attacks(tmp_path, run, command):
    name = f"{own_file('attacks/OWN.md', tmp_path)}:Flat"
    ended = run("--json", attacks=f"{name},{name}[eps=0.9]")
    small, large = json.loads(ended.out)["cells"]
    assert small["status"] == large["status"] == "done"
    assert large["robust"] <= small["robust"] <= small["clean"]
    checked = command("contract", "--attack", name)
    assert checked.code == 0, checked.out


def test_the_test_of_the_page_passes_and_fails(tmp_path, check, good, bad, baseline):
    installed = any(one.name == "reattack" for one in entry_points(group="pytest11"))
    plugin = () if installed else ("-p", "benchmark.pytest_plugin")
    own_file("reports/gate/README.md", tmp_path)
    (tmp_path / "tests").mkdir()
    shutil.copy(baseline, tmp_path / "tests" / "baseline.json")
    for results, code in ((good, 0), (bad, 1)):
        shutil.copytree(results, tmp_path / "results", dirs_exist_ok=True)
        words = ["-p", "no:cacheprovider", *plugin, "test_gate.py"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *words], cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr


def own_file(page, folder):
    (code,) = blocks(page)
    (folder / FILES[page]).write_text(code)
    return folder / FILES[page]


@pytest.mark.parametrize("page", [page for page in pages() if [*commands(page)]])
def test_every_command_is_one(page):
    """Its name, flags and kinds of values are known."""
    import typer

    from benchmark.cli.app import app

    known = typer.main.get_command(app)
    for words in commands(page):
        command = known.commands[words[0]]
        command.make_context(words[0], words[1:])


def test_the_line_that_scores_a_model_runs(command, tmp_path, monkeypatch):
    """That of the README, on a few images."""
    (words,) = [
        words for words in commands("README.md") if "benchmark/examples/net.py:Net" in words
    ]
    example = tmp_path / "benchmark" / "examples"
    example.mkdir(parents=True)
    shutil.copy(ROOT / "benchmark" / "examples" / "net.py", example)
    monkeypatch.chdir(tmp_path)
    ended = command(*words, "--limit", 20, "--jobs", 1)
    assert ended.code == 0 and "net.py:Net" in ended.out, ended.err
