"""`train` and `export` as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys

import pandas as pd
import pytest

from baselines.networks.weights import load_weights

SHORT = "pgd_at[epochs=3,attack_steps=2]"


@pytest.fixture
def trained(command, tmp_path):
    """A model of digits in a results folder; gives its line of JSON and the folder."""
    found = command("train", "--defense", SHORT, "--results", tmp_path / "r", "--json")
    assert found.code == 0, found.err
    (line,) = json.loads(found.out)["models"]
    return line, tmp_path / "r"


def test_what_is_trained_is_what_run_trains(trained, command):
    line, results = trained
    (model,) = (results / "models").glob("*.safetensors")
    assert line["file"] == str(model) and line["seconds"] > 0
    assert line["validation_accuracy"] > 0.3
    assert len(pd.read_csv(next((results / "models").glob("*.training.csv")))) == 3
    ran = command(
        "run", "--defense", SHORT, "--attacks", "fgsm", "--shots", "0", "--limit", "20",
        "--results", results, "--executor", "here",
    )  # fmt: skip
    assert ran.code == 0 and "trained pgd_at" not in ran.err, ran.err
    assert [*(results / "models").glob("*.safetensors")] == [model]


def test_several_defenses_and_seeds_have_a_line_each(command, tmp_path):
    found = command(
        "train", "--defense", f"{SHORT},standard[epochs=2]", "--seeds", "0,1", "--results", tmp_path
    )
    assert found.code == 0 and found.out.count("validation images right") == 4
    assert len([*(tmp_path / "models").glob("*.safetensors")]) == 4


def test_a_training_that_fails_is_said_and_the_others_go_on(command, tmp_path):
    words = ("--defense", "standard[epochs=2,lr=1e30],standard[epochs=1]", "--results", tmp_path)
    found = command("train", *words, "--json")
    assert found.code == 1 and "failed: standard[epochs=2,lr=1e30], seed 0" in found.err
    assert "diverged" in found.err
    (line,) = json.loads(found.out)["models"]
    assert line["defense"] == "standard[epochs=1]"


def test_an_export_has_a_card_and_can_be_evaluated(trained, command, tmp_path):
    _, results = trained
    scored = ("--attacks", "fgsm", "--shots", "0", "--limit", "50", "--executor", "here")
    assert command("run", "--defense", SHORT, *scored, "--results", results).code == 0
    out = tmp_path / "robust.safetensors"
    found = command("export", "--defense", SHORT, "--out", out, "--results", results)
    assert found.code == 0, found.err
    card = json.loads((tmp_path / "robust.json").read_text())
    assert card["network"] == "small_cnn" and card["data"]["name"] == "digits"
    assert card["options"]["epochs"] == 3 and card["trained_on"] == ["linf-gradient"]
    (figure,) = card["figures"]
    assert figure["attack"] == "fgsm" and figure["n"] == 50
    again = command(
        "run", "--defense", f"checkpoint[path={out}]", *scored, "--results", tmp_path / "other",
        "--json",
    )  # fmt: skip
    (cell,) = json.loads(again.out)["cells"]
    assert (cell["clean"], cell["robust"]) == (figure["clean"], figure["robust"])
    assert load_weights(out).keys()


def test_an_export_trains_what_is_not_trained_yet(command, tmp_path):
    out = tmp_path / "m.safetensors"
    found = command(
        "export", "--defense", "standard[epochs=1]", "--out", out, "--results", tmp_path / "r",
        "--json",
    )  # fmt: skip
    assert found.code == 0 and out.is_file()
    assert json.loads(found.out)["figures"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--defense", SHORT, "--out", "m.pt"), "ends in .safetensors"),
        (("--defense", f"{SHORT},standard", "--out", "m.safetensors"), "expected one defense"),
        (("--defense", "nobody", "--out", "m.safetensors"), "nobody"),
    ],
)
def test_what_cannot_be_exported_is_one_line(command, tmp_path, words, said):
    found = command("export", *words, "--results", tmp_path)
    assert found.code == 2 and said in found.err and found.err.count("\n") == 1
    assert not list(tmp_path.rglob("*.safetensors"))


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from benchmark.cli import main
import torch  # before the limit: whatever it writes
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
main()
"""


def test_a_disk_that_fills_while_exporting_leaves_nothing_half_written(trained, tmp_path):
    """The model of 152 kB does not fit; what stood there before is as it was."""
    _, results = trained
    out = tmp_path / "out" / "m.safetensors"
    out.parent.mkdir()
    out.write_bytes(b"before")
    words = ["export", "--defense", SHORT, "--out", str(out), "--results", str(results)]
    ended = subprocess.run(
        [sys.executable, "-c", FULL, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1 and "m.safetensors" in ended.stderr
    assert [path.name for path in out.parent.iterdir()] == ["m.safetensors"]
    assert out.read_bytes() == b"before"
