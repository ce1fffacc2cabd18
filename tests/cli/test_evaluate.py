"""The benchmark from Python, and commands on what the user brings: data, network, attack, suite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmark import evaluate
from benchmark.core.errors import UsageError
from benchmark.data import load
from benchmark.results.store import read_records

SHAPE = (1, 8, 8)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model():
    """A linear model that is right on most digits."""
    train = load.load("digits", None, False, 0).train
    images, targets = train.images().flatten(1), nn.functional.one_hot(train.labels).float()
    solved = torch.linalg.lstsq(
        torch.cat([images, torch.ones(len(images), 1)], 1), targets
    ).solution
    linear = nn.Linear(64, 10)
    linear.weight.data, linear.bias.data = solved[:-1].T.clone(), solved[-1].clone()
    return nn.Sequential(nn.Flatten(), linear)


def test_five_lines(model):
    found = evaluate(model, dataset="digits", attacks="fgsm,pgd_l2", limit=50, quiet=True)
    table = found.frame[["attack", "clean", "robust", "robust_interval", "n", "status"]]
    assert table["attack"].tolist() == ["fgsm", "pgd_l2"] and (table["status"] == "done").all()
    assert (table["robust"] < table["clean"]).all() and (table["n"] == 50).all()
    assert "fgsm" in repr(found) and found.flags == []
    name = found.frame["defense"][0]
    assert name.startswith("Sequential-") and found.frame["network"][0] == name


def test_tensors_are_scored_as_the_same_images_of_a_data_set(model):
    test = load.load("digits", None, False, 0).test.first(40)
    images, labels = test.batch()
    by_name = evaluate(model, dataset="digits", attacks="fgsm[eps=0.1]", limit=40, quiet=True)
    found = evaluate(model, images=images, labels=labels, attacks="fgsm[eps=0.1]", quiet=True)
    assert np.array_equal(found.frame["verdicts"][0].robust, by_name.frame["verdicts"][0].robust)
    assert found.frame["threat"][0] == "linf 0.1"
    ruled = evaluate(model, images=images, labels=labels, attacks="fgsm", quiet=True)
    assert ruled.frame["threat"][0] == "linf 0.03137 by rule"


def test_shown_images_come_from_the_support(model):
    train = load.load("digits", None, False, 0).train
    images, labels = load.load("digits", None, False, 0).test.first(30).batch()
    with pytest.raises(UsageError, match="needs support="):
        evaluate(model, images=images, labels=labels, shots=1, quiet=True)
    found = evaluate(
        model, images=images, labels=labels, support=train.first(100).batch(), shots=[0, 1],
        attacks="fgsm", quiet=True,
    )  # fmt: skip
    assert found.frame["shots"].tolist() == [0, 1] and (found.frame["status"] == "done").all()


def test_the_same_images_with_a_support_after_without(model):
    images, labels = load.load("digits", None, False, 0).test.first(30).batch()
    support = load.load("digits", None, False, 0).train.first(100).batch()
    words = {"images": images, "labels": labels, "attacks": "fgsm", "quiet": True}
    evaluate(model, **words)
    found = evaluate(model, **words, support=support, shots=1)
    assert (found.frame["status"] == "done").all(), found


def test_why_a_row_has_no_number_is_in_what_is_printed(model):
    two = nn.Sequential(model, nn.Linear(10, 2))
    images, labels = torch.rand(20, *SHAPE), torch.arange(20) % 2
    found = evaluate(two, images=images, labels=labels, attacks="autoattack", quiet=True)
    assert "skipped autoattack: needs more than 3 classes" in repr(found)


def test_two_models_of_a_class_are_two_and_nothing_runs_twice(model, tmp_path):
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    words = {"dataset": "digits", "attacks": "fgsm[eps=0.02]", "limit": 30, "results": tmp_path}
    first, second = (evaluate(one, **words, quiet=True) for one in (model, other))
    assert len(read_records(tmp_path).records) == 2
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    evaluate(model, **words, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before
    change = first.compare(second)
    assert change["points"][0] < 0 and change["n"][0] == 30
    figure = first.plot()
    assert figure.axes[0].get_xlabel() == "correct (%)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "expected dataset=NAME, or images= and labels="),
        ({"dataset": "digits", "images": torch.rand(2, *SHAPE)}, "got neither, or both"),
        ({"dataset": "numbers"}, "unknown data set 'numbers'"),
        ({"dataset": "digits", "attacks": "fgsmm"}, "unknown attack 'fgsmm'"),
        ({"images": torch.rand(2, *SHAPE) * 255, "labels": torch.zeros(2).long()}, "in \\[0, 1\\]"),
        ({"images": torch.rand(2, *SHAPE), "labels": torch.zeros(2)}, "labels: expected int64"),
        ({"images": torch.rand(2, *SHAPE), "labels": torch.tensor([0, 11])}, "expected 0 to 9"),
        ({"images": torch.zeros(2, *SHAPE).byte(), "labels": torch.zeros(2).long()}, "got uint8"),
        ({"images": np.zeros((2, *SHAPE)), "labels": torch.zeros(2)}, "a torch.Tensor, got ndarra"),
        ({"images": torch.zeros(0, *SHAPE), "labels": torch.zeros(0).long()}, "some, got none"),
        ({"images": torch.rand(2, 8, 8), "labels": torch.zeros(2).long()}, "got float32 .2, 8, 8"),
        ({"images": torch.rand(2, 3, 8, 8), "labels": torch.zeros(2).long()}, r"shape \(3, 8, 8"),
    ],
)
def test_what_does_not_go_together_is_one_line(model, words, message):
    with pytest.raises(UsageError, match=message):
        evaluate(model, **words, quiet=True)
    with pytest.raises(UsageError, match=r"expected an nn\.Module, got str"):
        evaluate("model", dataset="digits")


def test_the_model_stays_as_it_is(model):
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    evaluate(model, dataset="digits", attacks="fgsm", limit=20, shots=[0, 1], quiet=True)
    assert model.training
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


OWN = """
from dataclasses import dataclass
from typing import ClassVar
import torch
from torch import nn
from benchmark.core.types import Attack, NormBall

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 2))
    def forward(self, images):
        return self.layers(images)

@dataclass(frozen=True)
class Brighter(Attack):
    name: ClassVar[str] = "brighter"
    family: ClassVar[str] = "corruption"
    norm: ClassVar[str] = "linf"
    eps: float
    @property
    def threat(self):
        return NormBall("linf", self.eps)
    @property
    def passes(self):
        return 1
    def perturb(self, model, images, labels, goal, rng):
        return (images + self.eps).clamp(0, 1)
"""


@pytest.fixture
def mine(tmp_path):
    """Data, a network and an attack of the user's."""
    (tmp_path / "mine.py").write_text(OWN)
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    images = rng.integers(0, 100, (200, 8, 8)).astype(np.uint8) + (100 * labels[:, None, None])
    np.savez(tmp_path / "data.npz", images=images.astype(np.uint8), labels=labels)
    return tmp_path


def test_a_run_of_own_data_network_and_attack(mine, command):
    words = [
        "run", "--dataset", f"npz:{mine / 'data.npz'}", "--network", f"{mine / 'mine.py'}:Tiny",
        "--defense", "standard[epochs=3]", "--shots", "0,1", "--episodes", 1,
        "--attacks", f"{mine / 'mine.py'}:Brighter[eps=0.2],fgsm",
        "--results", mine / "results", "--json",
    ]  # fmt: skip
    ended = command(*words, "--executor", "processes", "--jobs", 2)
    assert ended.code == 0, ended.err
    assert "strengths by rule: linf 0.03137; --strengths" in ended.err
    cells = json.loads(ended.out)["cells"]
    assert {cell["dataset"] for cell in cells} == {"npz:data.npz"}
    assert {cell["network"] for cell in cells} == {"mine.py:Tiny"}
    assert {cell["attack"]: cell["threat"] for cell in cells} == {
        "mine.py:Brighter[eps=0.2]": "linf 0.2", "fgsm": "linf 0.03137 by rule",
    }  # fmt: skip
    assert str(mine) not in ended.out, "no folder is named"
    again = command(*words)
    assert json.loads(again.out)["cells"] == cells
    (mine / "mine.py").write_text(OWN.replace("images + self.eps", "images - self.eps"))
    assert "stale, run again" in command(*words).err


def test_strengths_of_ones_own(mine, run):
    (mine / "strengths.toml").write_text('linf = { eps = "4/255" }\n')
    words = "--dataset", f"npz:{mine / 'data.npz'}", "--json"
    ended = run(*words, "--strengths", mine / "strengths.toml", attacks="fgsm,fgm_l2")
    threats = [cell["threat"] for cell in json.loads(ended.out)["cells"]]
    assert threats[0] == "linf 0.01569" and threats[1].endswith("by rule")
    (mine / "strengths.toml").write_text("linf = 3")
    bad = run(*words, "--strengths", mine / "strengths.toml")
    assert bad.code == 2 and "--strengths: expected tables such as" in bad.err


@pytest.mark.parametrize(
    ("text", "told"),
    [("lnif = { eps = 0.1 }", "in --strengths 'lnif'; did you mean linf"),
     ("fgsn = { eps = 0.1 }", "in --strengths 'fgsn'; did you mean fgsm"),
     ("linf = { epz = 0.1 }", "option of linf in --strengths 'epz'; did you mean eps")],
)  # fmt: skip
def test_strengths_of_nothing_are_refused(mine, run, text, told):
    (mine / "strengths.toml").write_text(text)
    bad = run("--dataset", f"npz:{mine / 'data.npz'}", "--strengths", mine / "strengths.toml")
    assert bad.code == 2 and told in bad.err and bad.err.count("\n") == 1


def test_strengths_of_an_attack_of_ones_own(mine, run):
    (mine / "brighter.py").write_text(OWN)
    (mine / "strengths.toml").write_text("brighter = { eps = 0.125 }")
    words = "--dataset", f"npz:{mine / 'data.npz'}", "--strengths", mine / "strengths.toml"
    ended = run(*words, "--json", attacks=f"{mine / 'brighter.py'}:Brighter")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["cells"][0]["threat"] == "linf 0.125"


def test_a_run_says_what_it_drew(mine, run):
    told = "test is a fifth of it, drawn by us once for all seeds; validation is drawn by the seed"
    assert told in run("--dataset", f"npz:{mine / 'data.npz'}").err
    assert "drawn" not in run("--dataset", "digits").err


def test_a_suite_of_ones_own(mine, command):
    (mine / "my.toml").write_text(
        'description = "mine"\nattacks = "fgsm"\nshots = [0]\nlimit = 20\n'
        'defenses = "standard[epochs=1]"\n'
    )
    ended = command("run", "--suite", mine / "my.toml", "--results", mine / "results", "--json")
    assert [cell["attack"] for cell in json.loads(ended.out)["cells"]] == ["fgsm"]
    (mine / "my.toml").write_text('description = "mine"\nshot = 3\n')
    bad = command("run", "--suite", mine / "my.toml")
    assert bad.code == 2 and "my.toml: shot: " in bad.err


def test_a_team_gates_its_model_with_one_command(mine, command):
    model = f"{mine / 'gate.py'}:Net"
    (mine / "gate.py").write_text(
        OWN + "\ntorch.manual_seed(0)\nNet = Tiny()\n"
        "Net.layers[1].weight.data[:] = 0.01\nNet.layers[3].weight.data[:] = 0\n"
        "Net.layers[3].weight.data[1] = 1\nNet.layers[3].bias.data[:] = torch.tensor([3.0, 0.0])\n"
    )
    words = [
        "check", "--baseline", mine / "b.json", "--defense", model, "--attacks", "fgsm",
        "--dataset", f"npz:{mine / 'data.npz'}", "--limit", 40,
    ]  # fmt: skip
    assert command(*words, "--update").code == 0
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert "in one of 2 cells is seen" in ended.out or "not seen reliably" in ended.out


def test_a_folder_called_like_ours_is_named(tmp_path):
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "__init__.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", "list", "suites"], cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"`reports` here is {tmp_path / 'reports'}, which is not ours" in done.stderr
    assert "reattack" in done.stderr and len(done.stderr.splitlines()) == 1
    python = subprocess.run(
        [sys.executable, "-c", "from benchmark import evaluate"], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    (last,) = python.stderr.splitlines()[-1:]
    assert f"UsageError: `reports` here is {tmp_path / 'reports'}, which is not ours" in last


def test_the_version_is_shown(command):
    assert command("--version").out.startswith("reattack ")
