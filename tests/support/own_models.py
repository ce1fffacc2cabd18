"""A user's file of a model that misbehaves in a worker, and the runs it is used in."""

from __future__ import annotations

import os
from typing import NamedTuple

from tiny_runs import SUITE, Run, prepare, record_of, tiny_plan

from benchmark.execution.execute import execute
from benchmark.plan.matrix import defense_texts
from benchmark.plan.request import make_request
from benchmark.results.records import Record
from benchmark.results.store import record_path

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


class Team(NamedTuple):
    """Who computes."""

    executor: str = "auto"
    jobs: int | None = None
    gpus: float | None = None


class Limits(NamedTuple):
    """What a cell may take."""

    seconds: float | None = None
    gigabytes: float | None = None


def fill_with(team: Team, folder, limits: Limits | None = None, **values) -> Run:
    """Run a tiny plan with a team, as the command line would."""
    plan, limits = tiny_plan(**values), limits or Limits()
    names = {"defenses": "standard[epochs=2]", "attacks": "pgd_linf[steps=3]"}
    request = make_request({**names, **values})
    prepared = prepare(
        plan, folder, executor=team.executor, jobs=team.jobs, gpus_per_task=team.gpus,
        threads=1, no_cache=False, cell_time=limits.seconds, cell_memory=limits.gigabytes,
    )  # fmt: skip
    texts = defense_texts(request, SUITE)
    ended = execute(plan, prepared.settings, texts, prepared.listener)
    return Run(prepared, prepared.listener, ended, [record_of(folder, cell) for cell in plan.cells])


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
    path = record_path(run.prepared.settings.results, record.cell).with_suffix(".png")
    return path.read_bytes() if path.exists() else None


def statuses(run: Run) -> dict[tuple[str, str], str]:
    """By attack and method."""
    return {
        (record.cell.attack, record.cell.budget.method): record.status for record in run.records
    }
