"""Fixtures of the tests of `audit`: two parts of a second, models of the user's; of `conftest`."""

import pytest

from benchmark.results.audits import Checked, audit_files, read_audit

LINEAR = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head, self.calls = nn.Linear(64, 10), 0

    def forward(self, images):
        self.calls += 1
        {act}
        return self.head(images.flatten(1))
"""


def attacked(subject):
    """A gradient attack, which not every model survives."""
    stands = subject.stands("pgd_linf[steps=2]").float().mean()
    return Checked(numbers={"robust accuracy": float(stands)})


@pytest.fixture
def planned(monkeypatch):
    """Two real parts, whatever others there are."""
    from benchmark.audit import parts
    from benchmark.audit.model import model

    found = {"model": model, "attacked": attacked}
    monkeypatch.setattr(parts, "PARTS", found)
    return found


@pytest.fixture
def audit(command, planned, tmp_path):
    def call(*words, defense="standard[epochs=1]", limit=20):
        results = tmp_path / "results"
        what = ["--defense", defense, "--results", results, "--limit", limit]
        return command("audit", *what, *words)

    return call


@pytest.fixture
def own(tmp_path):
    def make(act, name="own.py"):
        (tmp_path / name).write_text(LINEAR.format(act=act))
        return f"{tmp_path / name}:Net"

    return make


def kept(tmp_path):
    return [read_audit(path) for path in audit_files(tmp_path / "results")]
