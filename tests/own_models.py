"""A user's file of a model that misbehaves in a worker, and the runs it is used in."""

from __future__ import annotations

import os

from benchmark.artifacts.settings import Limits, Place
from benchmark.execution.execute import Team, fill
from benchmark.execution.worker import Job
from benchmark.plan.matrix import defense_texts
from benchmark.plan.request import make_request
from benchmark.results.records import Record
from benchmark.results.store import record_path
from tests.tiny_runs import SUITE, Run, lab_for, record_of, tiny_plan

MODEL = """
import os, re, signal, sys, time
from pathlib import Path
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.body, self.head = nn.Linear(64, 64), nn.Linear(64, 10)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 8

    def forward(self, images):
        worker = os.getpid() != {driver}
        finetuned = not isinstance(self.body.weight, nn.Parameter)  # as `functional_call` puts it
        {act}
        return self.head(self.body(images.flatten(1) - 0.5))
"""
FINE = "finetuned"
"""True in the cells that adapt the whole network, when they adapt."""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
SIX = {
    "attacks": "fgsm,uniform_noise", "shots": [0, 1], "methods": ["finetune", "head"],
    "episodes": 1, "limit": 30,
}  # fmt: skip
"""For each attack the trained model, then the whole network adapted, then its head."""
FINE_FAILED = {
    (attack, method): "failed" if method == "finetune" else "done"
    for attack in ("fgsm", "uniform_noise") for method in ("none", "finetune", "head")
}  # fmt: skip


def own_model(folder, act: str) -> str:
    """A defense: a model that does `act`, one statement, before each pass."""
    file = folder / "own.py"
    file.write_text(MODEL.format(driver=os.getpid(), act=act))
    return f"{file}:Net"


def fill_with(team: Team, folder, limits: Limits | None = None, **values) -> Run:
    """Run a tiny plan with a team, as the command line would."""
    place = Place(folder, command="test", limits=limits or Limits())
    plan = tiny_plan(**values)
    names = {"defenses": "standard[epochs=2]", "attacks": "pgd_linf[steps=3]"}
    request = make_request({**names, **values})
    lab = lab_for(plan, folder)
    lab.place = place
    ended = fill(lab, Job(place, tuple(defense_texts(request, SUITE))), team)
    return Run(lab, lab.watch, ended, [record_of(folder, cell) for cell in plan.cells])


def same(run: Run) -> list[tuple]:
    """All of a record that must not depend on where it was made."""
    return [
        (
            record.cell, record.status, record.reason, record.outcome, record.flags, record.query,
            record.trained_on, record.fingerprint, record.provenance.attack_options,
            record.cost.forwards, record.cost.backwards, _picture(run, record),
        )
        for record in run.records
    ]  # fmt: skip


def _picture(run: Run, record: Record) -> bytes | None:
    path = record_path(run.lab.place.results, record.cell).with_suffix(".png")
    return path.read_bytes() if path.exists() else None


def statuses(run: Run) -> dict[tuple[str, str], str]:
    """By attack and method."""
    return {
        (record.cell.attack, record.cell.budget.method): record.status for record in run.records
    }
