"""Subjects of an audit made of a module: digits, looked at as a run looks at them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from tiny_runs import prepare, tiny_plan

from attacks.build import strengths_of
from benchmark.artifacts.attacker import Attacker
from benchmark.artifacts.models import Model
from benchmark.audit.subject import Subject
from benchmark.core.copying import copied
from benchmark.core.types import Defense, Trained
from benchmark.evaluation.verdicts import frozen, state_hash
from benchmark.results.cells import Budget, Cell

DEFENSE = "standard[epochs=10]"


@dataclass(frozen=True)
class Given(Defense):
    """A module that is there already."""

    name: ClassVar[str] = "given"
    trains: ClassVar[bool] = False
    brings_network: ClassVar[bool] = True
    model: Any = None

    def fit(self, network, train_split, strengths, progress, rng):
        return Trained(copied(self.model), frozenset())


@lru_cache(maxsize=8)
def trained(defense=DEFENSE):
    """A small CNN on digits, trained once for all tests of a process."""
    with tempfile.TemporaryDirectory() as results:
        prepared = prepare(tiny_plan(defenses=defense, shots=[0]), results)
        return prepared.model(prepared.plan.cells[0]).network


def subject(model, folder, limit=100, attack="pgd_linf[steps=3]"):
    """A model under audit, with the first `limit` validation images."""
    plan = tiny_plan(attack, {"standard": Given(model)}, shots=[0])
    prepared = prepare(plan, folder)
    (cell,) = plan.cells
    inputs = prepared.inputs(cell)
    batch = inputs.data.validation.first(limit).batch()
    strengths = strengths_of("digits")
    return Subject(cell, inputs.trained, batch, inputs.data.classes, strengths, inputs.attacker)


def bare_subject(model, batch, eps, flags=()):
    """A frozen model under audit that nobody looked at, attacked with `eps` in linf."""
    cell = Cell(
        dataset="none", network="none", defense="none", seed=0, attack="none",
        budget=Budget(shots=0, method="none"),
    )  # fmt: skip
    network = frozen(model)
    known = Model(network, network, frozenset(), state_hash(network), "", list(flags))
    attacker = Attacker(cell, None, None, None, {})
    return Subject(cell, known, batch, 2, {"linf": {"eps": eps}}, attacker)
