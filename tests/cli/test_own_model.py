"""A user's own model from a file: every form of it, evaluated like the others."""

import json

import pytest

from benchmark.data import load

MINE = """
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import one_hot

from benchmark.core.types import Defense, Trained


class Net(nn.Module):
    def __init__(self, answer=0):
        super().__init__()
        self.answer = answer
        self.head = nn.Linear(64, 10)
        nn.init.zeros_(self.head.weight)
        self.head.bias.data = one_hot(torch.tensor(answer), 10).float()

    def forward(self, images):
        return self.head(images.flatten(1))


class Clean(Net):
    trained_on = set()


class Declared(Net):
    trained_on = {"linf-gradient", "noise"}


instance = Net(answer=1)


def function():
    return Net(answer=2)


@dataclass(frozen=True)
class Mine(Defense):
    name: ClassVar[str] = "mine"
    answer: int = 3

    def fit(self, network, train, strengths, progress, rng):
        return Trained(Net(self.answer), frozenset({"l2-gradient"}))
"""


@pytest.mark.parametrize(
    ("name", "answer", "unseen"),
    [
        ("Net", 0, {"fgsm": None, "fgm_l2": None}),
        ("instance", 1, {"fgsm": None, "fgm_l2": None}),
        ("function", 2, {"fgsm": None, "fgm_l2": None}),
        ("Clean", 0, {"fgsm": True, "fgm_l2": True}),
        ("Declared", 0, {"fgsm": False, "fgm_l2": True}),
        ("Mine", 3, {"fgsm": True, "fgm_l2": False}),
        ("Mine[answer=4]", 4, {"fgsm": True, "fgm_l2": False}),
    ],
)
def test_a_model_of_ones_own(run, tmp_path, name, answer, unseen):
    """It always gives one answer, so what is right is known."""
    (tmp_path / "mine.py").write_text(MINE)
    ended = run("--json", defense=f"{tmp_path}/mine.py:{name}", attacks="fgsm,fgm_l2")
    assert ended.code == 0
    cells = json.loads(ended.out)["cells"]
    labels = load.load("digits", None, False, 0).test.labels[:20]
    assert {cell["defense"] for cell in cells} == {f"mine.py:{name}"}
    assert {cell["attack"]: cell["unseen"] for cell in cells} == unseen
    for cell in cells:
        expected = pytest.approx((labels == answer).float().mean().item())
        assert (cell["clean"], cell["robust"]) == (expected, expected)


def test_a_model_of_ones_own_adapts_like_the_others(run, tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    words = ["--json", "--shots", "0,1", "--adapt", "finetune,head"]
    ended = run(*words, defense=f"{tmp_path}/mine.py:Net,standard[epochs=1]")
    assert ended.code == 0
    cells = json.loads(ended.out)["cells"]
    assert [cell["status"] for cell in cells] == ["done"] * 6
    assert all(cell["moved"] > 0 for cell in cells if cell["shots"])
