"""The command line as a user meets it: what each command prints, writes and returns."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from attacks import ATTACKS
from baselines import DEFENSES
from baselines.networks.zoo import NETWORKS
from benchmark.data.catalog import DATASETS
from benchmark.plan.request import suites

KEYS = [
    "dataset", "network", "defense", "seed", "attack", "family", "threat", "origin", "unseen",
    "method", "knowledge", "shots", "steps", "episodes", "status", "reason", "n", "clean",
    "static", "reattacked", "robust", "robust_interval", "inflation", "gain", "moved", "seconds",
    "shown",
]  # fmt: skip
ACCURACIES = ["clean", "static", "reattacked", "robust"]
MEASURED = [*ACCURACIES, "robust_interval", "inflation", "gain"]
WORDS = [
    "run", "--defense", "standard[epochs=1]", "--attacks", "fgsm,pgd_l2[steps=3],pifgsm",
    "--shots", "0,1", "--episodes", 2, "--limit", 40, "--jobs", 1,
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of WORDS: made by the first test that asks, read by the others."""
    return tmp_path_factory.mktemp("cli") / "results"


@pytest.fixture
def main_job(command, folder):
    return lambda *words: command(*WORDS, "--results", folder, *words)


@pytest.fixture
def cells(main_job):
    """One JSON document, whole and alone on standard output."""
    ended = main_job("--json")
    assert ended.code == 0
    document = json.loads(ended.out)
    assert document.keys() == {"cells"}
    return document["cells"]


# run --json


def test_every_cell_has_exactly_the_promised_keys(cells):
    assert [list(cell) for cell in cells] == [KEYS] * 6
    assert [(cell["attack"], cell["shots"]) for cell in cells] == [
        (attack, shots) for attack in ("fgsm", "pgd_l2[steps=3]", "pifgsm") for shots in (0, 1)
    ]
    for cell in cells:
        facts = [cell[key] for key in ("dataset", "network", "defense", "seed", "knowledge")]
        assert facts == ["digits", "small_cnn", "standard[epochs=1]", 0, "captured"]
        assert (cell["method"], cell["episodes"]) == [("none", 1), ("finetune", 2)][cell["shots"]]
        assert cell["unseen"] is True, "clean training has seen no attack"
        assert cell["seconds"] >= 0


def test_what_is_done_is_measured_and_the_rest_is_null_with_a_reason(cells):
    for cell in cells:
        if cell["attack"] == "pifgsm":
            assert cell["status"] == "skipped"
            assert cell["reason"] == "needs 3 channels, images have 1"
            assert [cell[key] for key in ("n", *MEASURED)] == [None] * 8
        else:
            assert (cell["status"], cell["reason"], cell["n"]) == ("done", None, 40)
            assert all(0 <= cell[key] <= 1 for key in ACCURACIES)


def test_the_numbers_of_a_cell_agree(cells):
    zero = {cell["attack"]: cell["robust"] for cell in cells if cell["shots"] == 0}
    for cell in (cell for cell in cells if cell["status"] == "done"):
        assert cell["robust"] <= min(cell["static"], cell["reattacked"]) + 1e-12
        assert cell["robust"] <= cell["clean"] + 1e-12
        assert cell["inflation"] == pytest.approx(cell["static"] - cell["robust"], abs=1e-12)
        assert cell["gain"] == pytest.approx(cell["robust"] - zero[cell["attack"]], abs=1e-12)
        low, high = cell["robust_interval"]
        assert 0 <= low <= cell["robust"] <= high <= 1
        assert low < high
        if cell["shots"] == 0:
            assert cell["static"] == cell["reattacked"] == cell["robust"]
            assert (cell["inflation"], cell["moved"], cell["steps"]) == (0, 0, 0)
        else:
            assert cell["moved"] > 0
            assert (cell["robust"] * 80) % 1 == pytest.approx(0, abs=1e-9), "2 episodes of 40"


def test_the_same_again_is_free_and_equal(cells, main_job, monkeypatch):
    def never(*_):
        raise AssertionError("this was done already")

    monkeypatch.setattr("benchmark.protocol.group.finish", never)
    monkeypatch.setattr("baselines.training.loss_defense.train", never)
    again = main_job("--json")
    assert json.loads(again.out)["cells"] == cells
    assert "failed" not in again.err


# The other ways to run.


def test_quiet_is_silent(cells, main_job):
    assert main_job("--quiet") == (0, "", "")


def test_the_table_and_where_everything_is(cells, main_job, folder):
    ended = main_job()
    assert ended.code == 0
    assert "robust@K" in ended.out
    assert "standard[epochs=1]" in ended.out
    assert "2 skipped of 6 cells" in ended.out
    assert f"records: {folder / 'records'}" in ended.err
    assert f"tables and plots: {folder / 'report'}" in ended.err


def test_progress_goes_to_standard_error(run, tmp_path):
    ended = run()
    assert ended.code == 0
    assert ended.err.startswith("trained standard[epochs=1] on digits, seed 0\n")
    assert "trained standard" not in ended.out


def test_a_dry_run_lists_cells_and_costs_and_writes_nothing(command, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    words = [*WORDS, "--results", tmp_path / "results", "--dry-run"]
    shown = command(*words)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.count(" pgd_l2[steps=3] ") == 2, "options are not markup"
    assert "6 cells, at most" in shown.out
    document = json.loads(command(*words, "--json").out)
    costs = {
        (cell["attack"], cell["budget"]["shots"]): cell["passes"] for cell in document["cells"]
    }
    assert len(costs) == 6
    assert costs["fgsm", 0] == 40 * 3
    assert costs["pifgsm", 1] == 0
    assert costs["pgd_l2[steps=3]", 1] > costs["pgd_l2[steps=3]", 0]
    assert not list(tmp_path.iterdir())


def test_methods_knowledge_and_seeds_multiply(run):
    words = ["--shots", "0,1", "--seeds", "0,1", "--adapt", "finetune,head,norm,none"]
    words += ["--knowledge", "captured,simulated", "--adapt-steps", 2]
    ended = run("--json", *words)
    assert ended.code == 0
    cells = json.loads(ended.out)["cells"]
    one = [("none", 0, "captured")]
    one += [(m, 1, k) for m in ("finetune", "head", "norm") for k in ("captured", "simulated")]
    assert [(c["method"], c["shots"], c["knowledge"]) for c in cells] == one * 2
    assert [cell["seed"] for cell in cells] == [0] * 7 + [1] * 7
    assert {cell["steps"] for cell in cells if cell["shots"]} == {2}
    for cell in cells:
        if cell["status"] == "skipped":
            assert cell["reason"] == "the model has no parameters for adaptation method norm"
        else:
            assert cell["status"] == "done"
    adapted = [cell for cell in cells if cell["shots"] and cell["status"] == "done"]
    # simulated may craft what was captured: FGSM sees only signs, which two steps need not turn
    moved = [cell["moved"] for cell in adapted if cell["knowledge"] == "captured"]
    assert len(set(moved)) == len(moved), "each is an adaptation of its own"


# list, report, contract


@pytest.mark.parametrize(
    ("what", "known"),
    [
        ("attacks", ATTACKS.names()),
        ("defenses", DEFENSES.names()),
        ("datasets", list(DATASETS)),
        ("networks", list(NETWORKS)),
        ("suites", list(suites())),
    ],
)
def test_lists_name_everything(command, what, known):
    shown, asked = command("list", what), command("list", what, "--json")
    assert (shown.code, shown.err, asked.code, asked.err) == (0, "", 0, "")
    rows = json.loads(asked.out)[what]
    assert [row["name"] for row in rows][: len(known)] == known
    assert all(row["about"] for row in rows if "about" in row)
    lines = shown.out.splitlines()
    assert len(lines) == len(rows) + 1, "one line a row"
    assert [line.split()[0] for line in lines[1:]][: len(known)] == known


def test_a_list_shows_options_in_brackets(command):
    assert "jsma, onepixel[steps=2,population=10], pixle" in command("list suites").out


def test_the_lists_say_what_is_needed_and_what_is_left_out_and_why(command, tmp_path):
    attacks = {
        row["name"]: row for row in json.loads(command("list attacks --json").out)["attacks"]
    }
    assert attacks["pifgsm"]["needs"] == "needs 3 channels"
    assert attacks["fgsm"]["family"] == "linf-gradient"
    assert attacks["fgsm"]["origin"] == "reattack"
    assert attacks.keys() == {*ATTACKS.names(), *ATTACKS.unavailable}
    for name, reason in ATTACKS.unavailable.items():
        assert attacks[name]["about"] == f"unavailable: {reason}"
    listed = command("list", "datasets", "--json", "--data-dir", tmp_path)
    found = {row["name"]: row for row in json.loads(listed.out)["datasets"]}
    assert found["digits"]["here"] == "yes"
    assert str(tmp_path) in found["mnist"]["here"]


def test_the_report_can_be_read_by_others(cells, command, folder, tmp_path):
    ended = command("report", "--results", folder, "--out", tmp_path)
    assert (ended.code, ended.err) == (0, "")
    files = {path.suffix for path in tmp_path.iterdir()}
    assert files == {".csv", ".parquet", ".md", ".png", ".svg"}
    assert sorted(ended.out.split()) == sorted(map(str, tmp_path.iterdir()))
    tables = pd.read_csv(tmp_path / "results.csv"), pd.read_parquet(tmp_path / "results.parquet")
    for table in tables:
        robust = table.set_index(["attack", "shots"])["robust"]
        for cell in cells:
            found = robust[cell["attack"], cell["shots"]]
            expected = cell["robust"]
            assert pd.isna(found) if expected is None else found == pytest.approx(expected)
    assert "pgd_l2" in (tmp_path / "summary.md").read_text()
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG\r\n")
    for path in tmp_path.glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


BROKEN = """
from torch import nn

class Net(nn.Flatten):
    def forward(self, images):
        return super().forward(images) * float("nan")
"""


def test_a_contract_that_holds_and_one_that_does_not(command, tmp_path):
    kept = command("contract --attack fgsm")
    assert (kept.code, kept.err) == (0, "")
    assert all(line.startswith(("ok ", "skipped ")) for line in kept.out.splitlines())
    (tmp_path / "mine.py").write_text(BROKEN)
    broken = command("contract", "--defense", f"{tmp_path}/mine.py:Net")
    assert broken.code == 1
    assert "FAILED" in broken.out
    assert broken.err == ""


# --help


def test_help_names_every_command_and_flag(command):
    assert command() == command("--help")
    for name in ("run", "list", "report", "contract"):
        assert name in command("--help").out
    text = command("run --help").out
    flags = (
        "defense attacks suite dataset network data-dir download shots episodes seeds adapt "
        "knowledge limit results device quiet json dry-run"
    )
    for flag in flags.split():
        assert f"--{flag} " in text
    assert "Exit code: 0" in text


def test_help_does_not_wait_for_torch():
    code = (
        "import atexit, runpy, sys\n"
        "slow = {'torch', 'pandas', 'matplotlib'}\n"
        "atexit.register(lambda: print(*(slow & sys.modules.keys())))\n"
        "sys.argv = ['reattack', '--help']\n"
        "runpy.run_module('benchmark', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *shown, loaded = done.stdout.splitlines()
    assert "Usage" in shown[0]
    assert loaded == ""
