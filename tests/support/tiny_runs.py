"""The real runner on a plan of a few seconds: digits, few images, hardly any training."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from benchmark.artifacts.settings import ProgressListener, RunSettings
from benchmark.execution.execute import execute
from benchmark.execution.loading import InputLoader
from benchmark.plan.matrix import Plan, make_plan
from benchmark.plan.request import Suite, make_request
from benchmark.protocol.recording import fingerprint_of
from benchmark.results.records import Cell, Record
from benchmark.results.store import read_record, record_path

DEFENSE = "standard[epochs=2]"
ATTACK = "pgd_linf[steps=3]"
SUITE = Suite(description="tiny", dataset="digits", shots=[0, 1], episodes=2, limit=40)


class Log(ProgressListener):
    """Writes down what it is told."""

    def __init__(self):
        self.trained, self.ended, self.notes = [], [], []

    def training(self, what):
        self.trained.append(what)
        return lambda share: None

    def finished(self, cell, status, reason):
        self.ended.append((str(cell), status, reason))

    def note(self, line):
        self.notes.append(line)


class Prepared(NamedTuple):
    """A plan and where it runs, opened as far as a test asks."""

    plan: Plan
    settings: RunSettings
    listener: Log
    loader: InputLoader

    def run(self, cells=None):
        """Run it, or some of its cells; how they ended."""
        some = self.plan if cells is None else self.plan.model_copy(update={"cells": cells})
        return execute(some, self.settings, (), self.listener)

    def inputs(self, cell):
        return self.loader.inputs(cell)

    def model(self, cell):
        return self.loader.model(cell)

    def dataset(self, cell):
        return self.loader.data(cell)[1]

    def support(self, cell, episode, stage=0):
        return self.inputs(cell).support(cell, episode, stage)

    def query(self, cell):
        return self.inputs(cell).query(cell.limit)

    def fingerprint(self, cell):
        return fingerprint_of(self.inputs(cell), cell)


class Run(NamedTuple):
    """What came of one run: records in the order of the plan, None where there is none."""

    prepared: Prepared
    log: Log
    ended: Counter[str]
    records: list[Record | None]

    def only(self, **budget) -> Record:
        """The one record whose budget has these values."""
        (found,) = (
            record
            for record in self.records
            if record and all(getattr(record.cell.budget, k) == v for k, v in budget.items())
        )
        return found


def tiny_plan(attacks=None, defenses=None, **values) -> Plan:
    """`attacks` and `defenses` are text, or components by the name they get in the plan.

    Components are put under the name of a registered one, so the registries stay as they are.
    """
    texts = [DEFENSE if defenses is None else defenses, ATTACK if attacks is None else attacks]
    words = [text if isinstance(text, str) else ",".join(text) for text in texts]
    plan = make_plan(make_request({"defenses": words[0], "attacks": words[1], **values}), SUITE)
    given = [{} if isinstance(text, str) else text for text in texts]
    return plan.model_copy(
        update={
            "defenses": {**plan.defenses, **given[0]},
            "attacks": {**plan.attacks, **given[1]},
        }
    )


def prepare(plan: Plan, folder, **settings) -> Prepared:
    """In this process and without a cache, unless `settings` say otherwise."""
    values = {"no_cache": True, "executor": "here", **settings}
    found = RunSettings(results=folder, command="test", **values)
    log = Log()
    loader = InputLoader(plan.attacks, plan.defenses, found, log)
    return Prepared(plan, found, log, loader)


def run(plan: Plan, folder, **settings) -> Run:
    """Run a plan to its end."""
    prepared = prepare(plan, folder, **settings)
    ended = prepared.run()
    return Run(prepared, prepared.listener, ended, [record_of(folder, cell) for cell in plan.cells])


def record_of(folder, cell: Cell) -> Record | None:
    path = record_path(folder, cell)
    return read_record(path) if path.is_file() else None


def table(verdicts):
    """Verdicts as a bool array (episodes, n)."""
    return verdicts.unpack()
