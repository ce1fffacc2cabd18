"""The gate that this project keeps for itself: suite, baseline and workflow fit together."""

import re
import shlex
from pathlib import Path

import pytest
from gate_records import adapted, base, folder, unadapted, worsened

from benchmark.cli import gate
from benchmark.plan.matrix import make_plan
from benchmark.plan.request import make_request, read_suite
from reports.gate.baseline import read_baseline, write_baseline
from reports.gate.judge import RULES, judge

ROOT = Path(__file__).parents[2]
OWN = ROOT / "tests" / "ci-baseline.json"


def cells():
    return {name: kept.scored(name) for name, kept in read_baseline(OWN).cells.items()}


def test_the_baseline_holds_the_cells_of_the_suite():
    plan = make_plan(make_request({}), read_suite("ci"))
    names = {str(cell) for cell in plan.cells}
    clean = {f"{c.dataset}/{c.network}/{c.defense}/s{c.seed}/clean" for c in plan.cells}
    assert set(read_baseline(OWN).cells) == names | clean


def test_it_is_written_as_it_would_be_again(tmp_path):
    write_baseline(tmp_path / "again.json", read_baseline(OWN))
    assert (tmp_path / "again.json").read_text() == OWN.read_text()


def test_it_is_green_on_itself():
    assert judge(cells(), cells(), RULES, read_baseline(OWN).floors).code == 0


def test_it_is_red_where_adversarial_training_trains_on_clean_images():
    """What a bug in pgd_at would leave: the verdicts of standard training."""
    own = cells()
    now = {name: own[name.replace("pgd_at", "standard")]._replace(name=name) for name in own}
    found = judge(own, now)
    assert {name.split("/")[4] for name, *_ in found.those("red")} >= {"fgsm", "pgd_linf", "pgd_l2"}
    assert found.code == 1


def test_its_floors_are_over_cells_and_below_them():
    baseline = read_baseline(OWN)
    assert baseline.floors
    raised = dict.fromkeys(baseline.floors, 100.0)
    assert judge(cells(), cells(), RULES, raised).code == 1


@pytest.mark.parametrize("file", [".github/workflows/robustness.yml", ".ci/run"])
def test_it_is_run(file):
    """By a command that exists, on this baseline."""
    text = (ROOT / file).read_text("utf-8")
    (line,) = re.findall(r"^[^#\n]*python -m benchmark (check .*)", text, re.MULTILINE)
    words = shlex.split(line)
    assert words[words.index("--baseline") + 1] == "tests/ci-baseline.json"
    assert words[words.index("--suite") + 1] == "ci"


@pytest.fixture
def suite(monkeypatch):
    """Stands in for running a suite: writes records, and remembers where."""
    seen = []

    def run_first(first, where):
        seen.append(where)
        folder(where, [unadapted(worsened(base(), 40, 10)), adapted(base(episodes=3))])

    monkeypatch.setattr(gate, "run_first", run_first)
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    return seen


def test_a_suite_runs_first_in_a_folder_that_vanishes(command, suite, tmp_path):
    good = folder(tmp_path / "good", [unadapted(base()), adapted(base(episodes=3))])
    words = ["check", "--baseline", tmp_path / "b.json"]
    assert command(*words, "--update", "--results", good).code == 0
    assert command(*words, "--suite", "ci").code == 1
    assert not suite[0].exists()
    assert command(*words, "--suite", "ci", "--results", tmp_path / "kept").code == 1
    assert suite[1] == tmp_path / "kept"


def test_what_is_wrong_with_the_baseline_does_not_wait_for_the_suite(command, suite, tmp_path):
    (tmp_path / "b.json").write_text("{")
    for words in ((), ("--update",)):
        ended = command("check", "--baseline", tmp_path / "b.json", "--suite", "ci", *words)
        ended.refused("not a readable baseline")
    command("check", "--baseline", tmp_path / "none.json", "--suite", "ci").refused("no baseline")
    assert suite == []
