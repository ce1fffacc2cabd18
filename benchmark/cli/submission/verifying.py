"""`verify`: some verdicts of a submission asked again of its model, drawn by the file's own hash.

Nobody who makes a file can choose which verdicts will be asked: the draw hangs on all its records.
"""

from __future__ import annotations

import random
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from baselines.build import build_defense
from baselines.networks.zoo import NETWORKS
from benchmark.artifacts.settings import RunSettings
from benchmark.audit.evidence import more_than
from benchmark.cli import launch
from benchmark.core.errors import UsageError
from benchmark.core.schema import short_hash
from benchmark.plan.matrix import Plan, make_plan
from benchmark.plan.request import make_request, read_suite
from benchmark.results.outcomes import Outcome
from benchmark.results.records import Record
from benchmark.results.store import sealed
from reports.archive.handed_in import ROUNDED
from reports.tidy.escape import visible
from reports.tidy.sources import gather

ATTACKS, VERDICTS = 3, 300
"""The least that is asked again."""
Draw = dict[str, list[Record]]
"""By attack, the records of all its budgets."""


class Flips(NamedTuple):
    """Under one attack and K: verdicts asked again, and how many are others now."""

    name: str
    asked: int
    flips: int
    reason: str = ""
    """Why nothing could be asked."""


def drawn(records: Sequence[Record]) -> Draw:
    """Attacks in an order drawn by the hash of all records, until there are enough verdicts.

    Raises:
        UsageError: the records hold no such number of verdicts, or of attacks.
    """
    by_attack: defaultdict[str, list[Record]] = defaultdict(list)
    for one in records:
        if one.outcome is not None and not one.cell.shown:
            by_attack[one.cell.attack].append(one)
    order = sorted(by_attack)
    random.Random(seed_of(records)).shuffle(order)
    found: Draw = {}
    for attack in order:
        if len(found) >= ATTACKS and sum(map(_verdicts, found.values())) >= VERDICTS:
            break
        found[attack] = by_attack[attack]
    count = sum(map(_verdicts, found.values()))
    if len(found) < ATTACKS or count < VERDICTS:
        raise UsageError(
            f"{count} verdicts of {len(found)} attacks are too few to verify; expected at least "
            f"{VERDICTS} of {ATTACKS}"
        )
    return found


def seed_of(records: Sequence[Record]) -> str:
    """Of the draw: a hash of what all records hold."""
    return short_hash(*sorted(str(sealed(one)) for one in records))


def _verdicts(records: Sequence[Record]) -> int:
    return sum(one.outcome.n * one.outcome.episodes for one in records if one.outcome)


def of_one_model(place: Path, defense: str | None) -> list[Record]:
    """The records of one trained model in a submission.

    Raises:
        UsageError: there are several, or none of that name.
    """
    records = [one.record for one in gather([place])]
    names = sorted({one.cell.defense for one in records})
    chosen = [one for one in records if defense in (None, one.cell.defense)]
    parts = [one.cell for one in chosen]
    models = {(cell.dataset, cell.network, cell.defense, cell.seed) for cell in parts}
    if len(models) != 1:
        raise UsageError(
            f"{place}: expected the records of one trained model, got {len(models)}; say which by "
            f"--defense, one of {', '.join(visible(name) for name in names[:8])}"
        )
    return chosen


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
        settings = settings.model_copy(update={"results": Path(folder), "no_cache": True})
        found = [
            one
            for attack, ours in draw.items()
            for one in _again(attack, ours, model, network, settings)
        ]
    return told(found)


def told(found: Sequence[Flips]) -> int:
    """Say what flipped under each attack, and in one line what follows."""
    for one in found:
        typer.echo(f"  {visible(one.name)}: {one.reason or _said(one.flips, one.asked)}")
    flips, asked = (sum(getattr(one, name) for one in found) for name in ("flips", "asked"))
    failed = [one for one in found if one.reason]
    beyond = [one for one in found if more_than(one.flips, max(one.asked, 1), ROUNDED)]
    if failed or asked == 0:
        typer.echo("mismatch: not every verdict could be asked again")
        return 1
    if beyond or more_than(flips, asked, ROUNDED):
        typer.echo(f"mismatch: {_said(flips, asked)}; rounding may flip {ROUNDED:.0%}")
        return 1
    typer.echo(f"match: {_said(flips, asked)}; rounding may flip {ROUNDED:.0%}")
    return 0


def _said(flips: int, asked: int) -> str:
    return f"{flips} of {asked} verdicts are others"


def _again(
    attack: str, records: Sequence[Record], model: str, network: str | None, settings: RunSettings
) -> list[Flips]:
    """One for each budget: what is lifted at one K must not drown in the others."""
    plan = _plan(records, model, network, settings)
    settings = launch.prepare(plan, launch.check(settings, "verify"))
    launch.fill(plan, settings, [model], quiet=True)
    ours = {_place(one): one for one in launch.records_of(plan, settings.results)}
    return [_flips(one, ours.get(_place(one))) for one in records]


def _flips(record: Record, made: Record | None) -> Flips:
    name = f"{record.cell.attack}, K = {record.cell.budget.shots}"
    if made is None or made.outcome is None or record.outcome is None:
        return Flips(name, 0, 0, (made and made.reason) or "no such cell with this model")
    if made.query != record.query:
        return Flips(name, 0, 0, "other images: the data set here is not theirs")
    return Flips(name, *_compare(record.outcome, made.outcome))


def _place(record: Record) -> tuple[object, ...]:
    cell = record.cell
    return cell.attack, cell.budget, cell.episodes


def _compare(one: Outcome, other: Outcome) -> tuple[int, int]:
    """Verdicts under attack that both have, and how many differ; clean ones would only dilute."""
    names = ("before",) if one.is_unadapted() else ("static", "reattacked")
    pairs = [(getattr(one, name).unpack(), getattr(other, name).unpack()) for name in names]
    if any(ours.shape != theirs.shape for ours, theirs in pairs):
        return one.n, one.n
    return sum(ours.size for ours, _ in pairs), sum(int((a != b).sum()) for a, b in pairs)


def _plan(
    records: Sequence[Record], model: str, network: str | None, settings: RunSettings
) -> Plan:
    """The cells of one attack, as they were planned: all budgets adapt together."""
    cells = [one.cell for one in records]
    budgets = [cell.budget for cell in cells if cell.budget.adapts]
    values: dict[str, object] = {
        "defenses": model, "attacks": cells[0].attack, "dataset": cells[0].dataset,
        "shots": sorted({cell.budget.shots for cell in cells}), "seeds": [cells[0].seed],
        "episodes": max(cell.episodes for cell in cells), "limit": cells[0].limit,
    }  # fmt: skip
    own = build_defense(model)[1].brings_network
    named = network or (cells[0].network if cells[0].network in NETWORKS and not own else None)
    values |= {"network": named} if named else {}
    if budgets:
        values |= _budget_of(budgets)
    return make_plan(make_request(values), read_suite("main"), settings.strengths)


def _budget_of(budgets: Sequence[object]) -> Mapping[str, object]:
    found: dict[str, list[object]] = {
        name: list(dict.fromkeys(getattr(one, name) for one in budgets))
        for name in ("method", "knowledge", "steps", "lr")
    }
    if any(len(values) > 1 for name, values in found.items() if name in ("steps", "lr")):
        raise UsageError("adapts with several numbers of steps or rates; hand in one at a time")
    (steps,), (lr,) = found["steps"], found["lr"]
    return {
        "methods": found["method"], "knowledge": found["knowledge"], "steps": steps,
        **({"lr": lr} if lr else {}),
    }  # fmt: skip
