"""`verify`: drawn verdicts of a submission asked again of its model, table by table.

Asked are all verdicts of a drawn record: clean ones, under stored and new examples, and by who
knows the rule. What adaptation cost, moved or inferred is not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from baselines.build import build_defense
from baselines.networks.zoo import NETWORKS
from benchmark.artifacts.settings import RunSettings
from benchmark.audit.evidence import more_than
from benchmark.cli import launch
from benchmark.cli.submission.drawing import Draw, drawn, of_one_model, seed_of
from benchmark.core.errors import UsageError
from benchmark.plan.matrix import Plan, make_plan
from benchmark.plan.request import make_request, read_suite
from benchmark.results.outcomes import Outcome, Verdicts
from benchmark.results.records import Cell, Record
from reports.archive.handed_in import ROUNDED
from reports.tidy.escape import visible

TRAINED, ADAPTED = ("clean_before", "before"), ("clean", "static", "reattacked", "rule")
"""Tables of an outcome: of the trained model; of the adapted ones, where it adapts."""
CALLED = {"clean_before": "clean", "before": "robust@0", "clean": "clean@K", "static": "static@K",
          "reattacked": "reattacked@K", "rule": "by rule"}  # fmt: skip
NOT_ASKED = "cost, seconds, and what adaptation moved or inferred"


class Table(NamedTuple):
    """Verdicts of one kind that were asked again, and how many are others now."""

    name: str
    asked: int
    flips: int


class Answer(NamedTuple):
    """What the model says of one record."""

    name: str
    tables: tuple[Table, ...]
    reason: str = ""
    """Why nothing could be asked."""

    def __str__(self) -> str:
        which = ", ".join(f"{one.flips} of {one.name}" for one in self.tables if one.flips)
        return f"{self.name}: {self.reason or _said(self.tables)}{which and f' ({which})'}"


def verify(
    place: Path, model: str, defense: str | None, network: str | None, settings: RunSettings
) -> int:
    """Ask a model again and say what came of it; the exit code: 0 as handed in, 1 not.

    Raises:
        UsageError: the submission or the model cannot be read, or there is too little to ask.
    """
    records = of_one_model(place, defense)
    draw = drawn(records)
    typer.echo(f"seed {seed_of(records)} draws {', '.join(map(visible, draw))}")
    with tempfile.TemporaryDirectory(prefix="reattack-verify-") as folder:
        update = {"results": Path(folder), "no_cache": True, **as_recorded(draw)}
        answers = asked_again(draw, model, network, settings.model_copy(update=update))
    code = told(answers)
    left = sorted({one.cell.attack for one in records} - draw.keys())
    others = f"verdicts of {len(left)} more attacks, " if left else ""
    typer.echo(f"not asked: {others}{NOT_ASKED}")
    return code


def as_recorded(draw: Draw) -> dict[str, object]:
    """The settings that verdicts depend on, as the records say they were.

    Raises:
        UsageError: they say it in several ways.
    """
    records = [one for some in draw.values() for one in some]
    found = {one.fingerprint.get("precision", "float32") for one in records}
    if len(found) > 1:
        raise UsageError(f"made in {' and '.join(sorted(found))}; hand in one at a time")
    rule = any(one.outcome and one.outcome.rule for one in records)
    return {"precision": found.pop(), "rule": rule}


def asked_again(draw: Draw, model: str, network: str | None, settings: RunSettings) -> list[Answer]:
    """Every drawn record, its cell run anew with this model; all budgets adapt together."""
    plan, made_of = plan_of(draw, model, network, settings)
    settings = launch.prepare(plan, launch.check(settings, "verify"))
    launch.fill(plan, settings, [model], quiet=True)
    made = {one.cell: one for one in launch.records_of(plan, settings.results)}
    return [
        answer(one, made.get(made_of[one.cell])) for records in draw.values() for one in records
    ]


def plan_of(
    draw: Draw, model: str, network: str | None, settings: RunSettings
) -> tuple[Plan, dict[Cell, Cell]]:
    """The cells of the draw as they were planned, of this model; and which of them is whose."""
    cells = [one.cell for records in draw.values() for one in records]
    first = cells[0]
    own = build_defense(model)[1].brings_network
    named = network or (first.network if first.network in NETWORKS and not own else None)
    attacks = dict.fromkeys(name for cell in cells for name in (cell.attack, *cell.shown))
    values: dict[str, object] = {
        "defenses": model, "attacks": ",".join(attacks), "dataset": first.dataset,
        "shots": [0], "seeds": [first.seed], **({"network": named} if named else {}),
    }  # fmt: skip
    plan = make_plan(make_request(values), read_suite("main"), settings.strengths)
    parts = {name: getattr(plan.cells[0], name) for name in ("defense", "network")}
    made_of = {cell: cell.model_copy(update=parts) for cell in cells}
    return plan.model_copy(update={"cells": list(made_of.values())}), made_of


def answer(record: Record, made: Record | None) -> Answer:
    """A record beside the one that was made of the same cell."""
    cell = record.cell
    after = f", shown {', '.join(cell.shown)}" if cell.shown else ""
    name = f"{cell.attack}, K = {cell.budget.shots}{after}"
    if made is None or made.outcome is None or record.outcome is None:
        return Answer(name, (), (made and made.reason) or "no such cell with this model")
    if made.query != record.query:
        return Answer(name, (), "other images: the data set here is not theirs")
    return Answer(name, tuple(_tables(record, made.outcome)))


def _tables(record: Record, ours: Outcome) -> Iterator[Table]:
    theirs = record.outcome
    assert theirs is not None
    for name in TRAINED + (ADAPTED if record.cell.budget.adapts else ()):
        one, other = getattr(theirs, name), getattr(ours, name)
        if one is None:
            continue
        if name == "reattacked" and "reattack" in record.fingerprint:
            other = _both(ours)  # theirs left out what stored examples break
        yield Table(CALLED[name], one.n * one.episodes, _flips(one, other))


def _both(outcome: Outcome) -> Verdicts:
    return Verdicts.pack(outcome.static.unpack() & outcome.reattacked.unpack())


def _flips(one: Verdicts, other: Verdicts | None) -> int:
    """All of them where there is nothing to compare."""
    if other is None or (one.n, one.episodes) != (other.n, other.episodes):
        return one.n * one.episodes
    return int((one.unpack() != other.unpack()).sum())


def told(answers: Sequence[Answer]) -> int:
    """Say what flipped in each record, and in one line what follows.

    Each table is held to the share that rounding flips, and all together: what is lifted in one
    must not drown in the others. No correction for their number: the share is the most that was
    ever seen, and most machines flip none.
    """
    for one in answers:
        typer.echo(f"  {visible(str(one), 400)}")
    tables = [table for one in answers for table in one.tables]
    flips, asked = _total(tables)
    if asked == 0 or any(one.reason for one in answers):
        typer.echo("mismatch: not every verdict could be asked again")
        return 1
    beyond = any(more_than(one.flips, one.asked, ROUNDED) for one in tables)
    verdict = "mismatch" if beyond or more_than(flips, asked, ROUNDED) else "match"
    typer.echo(f"{verdict}: {_said(tables)}; rounding may flip {ROUNDED:.0%}")
    return int(verdict == "mismatch")


def _total(tables: Sequence[Table]) -> tuple[int, int]:
    return sum(one.flips for one in tables), sum(one.asked for one in tables)


def _said(tables: Sequence[Table]) -> str:
    flips, asked = _total(tables)
    return f"{flips} of {asked} verdicts are others"
