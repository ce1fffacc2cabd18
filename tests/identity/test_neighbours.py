"""What a user's file imports from beside it: run anew when that changes, and seen by nobody else.

The models give one answer whatever the image, so that what is right is counted.
"""

from __future__ import annotations

import sys

import pytest
from test_import_graph import installed
from tiny_runs import run, tiny_plan

from benchmark.data import load

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, images):
        IMPORT
        return self.head(images.flatten(1)) + torch.eye(10)[ANSWER]
"""
DEFENSE = """
from dataclasses import dataclass
from typing import ClassVar

import torch

from benchmark.core.types import Defense, Trained
from recipe import ANSWER


@dataclass(frozen=True)
class Mine(Defense):
    name: ClassVar[str] = "mine"

    def fit(self, network, train, strengths, progress, rng):
        last = [*network.parameters()][-1]
        for tensor in network.parameters():
            tensor.data.zero_()
        last.data[ANSWER] = 1
        return Trained(network, frozenset())
"""


def written(folder, **files):
    """Files by their names without `.py`."""
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def net(imported="", answer="shift.ANSWER", inside=""):
    """A model with this import at its top and that one inside `forward`."""
    return f"{imported}\n" + NET.replace("ANSWER", answer).replace("IMPORT", inside or "pass")


def accuracies(folder, *names):
    """Of each model, and the cells that were stale."""
    given = ",".join(f"{folder}/{name}" for name in names)
    found = run(tiny_plan("fgsm", given, shots=[0], limit=20), folder / "results")
    assert [record.reason for record in found.records] == [None] * len(names)
    stale = [note for note in found.log.notes if note.startswith("stale")]
    return [record.outcome.clean_before.unpack().mean() for record in found.records], stale


@pytest.fixture(scope="module")
def share():
    """Of the 20 images, those of a class."""
    labels = load.load("digits", None, False, 0).test.labels[:20]
    return [int((labels == number).sum()) / 20 for number in range(10)]


FORMS = {
    "neighbour": (net("import shift"), "shift"),
    "name": (net("from shift import ANSWER as given", "given"), "shift"),
    "inside a function": (net(inside="import shift"), "shift"),
    "name inside": (net(inside="from shift import ANSWER", answer="ANSWER"), "shift"),
    "of a package": (net("import parts.shift", "parts.shift.ANSWER"), "parts/shift"),
    "of its neighbour": (net("from parts import near", "near.ANSWER"), "parts/shift"),
    "told": (net("import importlib\nshift = importlib.import_module('shift')"), "shift"),
    "star": (net("from shift import *", "ANSWER"), "shift"),
}
PACKAGE = {"parts/__init__": "", "parts/near": "from .shift import ANSWER\n"}


@pytest.mark.parametrize("form", FORMS)
def test_a_neighbour_that_changed_is_seen(tmp_path, share, form):
    text, neighbour = FORMS[form]
    written(tmp_path, mine=text, **PACKAGE, **{neighbour: "ANSWER = 0\n"})
    assert accuracies(tmp_path, "mine.py:Net") == ([share[0]], [])
    assert accuracies(tmp_path, "mine.py:Net") == ([share[0]], [])
    written(tmp_path, **{neighbour: "ANSWER = 3\n"})
    found, stale = accuracies(tmp_path, "mine.py:Net")
    assert found == [share[3]] != [share[0]]
    assert len(stale) == 1
    assert "answers" in stale[0]
    written(tmp_path, **{neighbour: "# the same, in other words\nANSWER  =  3\n"})
    assert accuracies(tmp_path, "mine.py:Net") == ([share[3]], [])


def test_code_counts_even_where_answers_on_the_probes_do_not(tmp_path, share):
    """A defense may do otherwise with what no probe has."""
    written(tmp_path, mine=net("import shift"), shift="ANSWER = 0\nRARE = 1\n")
    accuracies(tmp_path, "mine.py:Net")
    written(tmp_path, shift="ANSWER = 0\nRARE = 2\n")
    found, (note,) = accuracies(tmp_path, "mine.py:Net")
    assert found == [share[0]]
    assert "(training changed)" in note


def test_folders_do_not_see_each_others_neighbours(tmp_path, share):
    for number, name in enumerate(("first", "second")):
        inside = "import late; assert late.ANSWER == shift.ANSWER"
        text = net("import shift, parts.shift", "shift.ANSWER", inside)
        same = f"ANSWER = {number + 1}\n"
        written(tmp_path / name, mine=text, shift=same, late=same, **{"parts/shift": same})
    names = ["first/mine.py:Net", "second/mine.py:Net"]
    assert accuracies(tmp_path, *names) == ([share[1], share[2]], [])
    assert share[1] != share[2]
    written(tmp_path / "second", late="ANSWER = 2\nOTHER = 1\n")
    found, stale = accuracies(tmp_path, *names)
    assert found == [share[1], share[2]]
    assert len(stale) == 1
    assert "second" in stale[0]
    assert not {"shift", "late", "parts"} & set(sys.modules)


def test_a_defense_whose_neighbour_changed_is_trained_again(tmp_path, share):
    written(tmp_path, mine=DEFENSE, recipe="ANSWER = 4\n")
    assert accuracies(tmp_path, "mine.py:Mine") == ([share[4]], [])
    plan = tiny_plan("fgsm", f"{tmp_path}/mine.py:Mine", shots=[0], limit=20)
    assert run(plan, tmp_path / "results").log.trained == []  # it is kept
    written(tmp_path, recipe="ANSWER = 5\n")
    found, stale = accuracies(tmp_path, "mine.py:Mine")
    assert found == [share[5]]
    assert len(stale) == 1


@pytest.mark.parametrize(
    "junk", ["def (", b"\xff\xfe\x00\x80", b"\x00" * 100, "(" * 5000, "raise SystemExit(3)\n"],
    ids=["syntax", "binary", "nulls", "brackets", "exit"],
)  # fmt: skip
def test_what_is_only_reached_by_parsing_may_be_anything(tmp_path, share, junk):
    inside = "if images.isnan().any(): import junk"
    written(tmp_path, mine=net("import shift", inside=inside), shift="ANSWER = 0\n", junk=junk)
    assert accuracies(tmp_path, "mine.py:Net") == ([share[0]], [])
    written(tmp_path, junk="fine = 1\n")
    found, stale = accuracies(tmp_path, "mine.py:Net")
    assert (found, len(stale)) == ([share[0]], 1)


@pytest.mark.parametrize("error", ["def (", "raise ValueError('no')", "raise SystemExit(3)"])
def test_a_neighbour_that_fails_on_import_is_one_line(tmp_path, command, error):
    written(tmp_path, mine=net("import shift"), shift=error)
    words = ("--defense", f"{tmp_path}/mine.py:Net", "--attacks", "fgsm", "--results")
    command("run", *words, tmp_path / "results").refused("mine.py fails on import")


VISION = """
import torch
from torch import nn

class Net(nn.Linear):
    def __init__(self):
        super().__init__(64, 10)
        nn.init.zeros_(self.weight)
        self.bias.data = torch.eye(10)[6]

    def forward(self, images):
        return super().forward(images.flatten(1))
"""


@pytest.mark.parametrize("record", [True, False])
def test_what_pip_installed_elsewhere_is_never_imported_to_be_looked_at(
    tmp_path, share, monkeypatch, record
):
    target = installed(tmp_path / "target", record=record)
    files = {"fakevision/__init__": "from . import nets\n", "fakevision/nets": VISION}
    written(target, **files)
    monkeypatch.syspath_prepend(target)
    home = written(tmp_path / "home", mine="from fakevision.nets import Net\n")
    try:
        found = accuracies(home, "mine.py:Net")
        assert "fakevision._elsewhere" not in sys.modules
    finally:
        for name in [name for name in sys.modules if name.startswith("fakevision")]:
            del sys.modules[name]
    assert found == ([share[6]], [])
