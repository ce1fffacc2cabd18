"""The choice of how a defense adapts: which settings are tried, which wins, and why.

Validation attacks against validation images: of each class half of these may be shown, the others
are scored (`data.for_choosing`), and the models adapted are attacked again, as in every other cell.
The criterion is robust@K (mean over families of the worst attack in each, then over K) among the
settings that cost at most so many points of clean accuracy at every K.
"""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.artifacts.settings import RunSettings
from benchmark.cli import launch
from benchmark.cli.dry_run import show as show_plan
from benchmark.core.errors import UsageError
from benchmark.core.specs import Spec
from benchmark.identity import fingerprint
from benchmark.plan.matrix import Plan, defense_texts, make_plan
from benchmark.plan.request import Request, Suite, make_request, read_suite
from benchmark.plan.tuned import default_path, write_choices
from benchmark.results.records import Choice, Method, Record

VALIDATION = "square, square_l2"
"""Where neither a flag nor the suite says which: two norms, one family that no training here uses;
what is scored of that family is flagged. A family of another kind beside them would decide alone:
see baselines/README.md on rotations."""


class Grid(NamedTuple):
    """What is tried, and what it may cost."""

    steps: list[int]
    rates: list[float]
    max_clean_drop: float


class Trial(NamedTuple):
    """One setting for one defense: accuracies in [0, 1], those of the trained model as `before`."""

    defense: str
    method: Method
    steps: int
    lr: float
    robust: float
    interval: tuple[float, float]
    clean: float
    before: float
    clean_drop: float
    """The largest over K."""


def tune(  # noqa: PLR0913 (what the command says)
    values: Mapping[str, Any], grid: Grid, suite_name: str, settings: RunSettings,
    out: Path | None, *, quiet: bool, json: bool, dry_run: bool,
) -> int:  # fmt: skip
    """Run every setting, print all of them, write the choices; the exit code."""
    settings = launch.check(settings)
    request, suite = make_request(values), read_suite(suite_name)
    plan = tuning_plan(request, suite, grid)
    settings = launch.prepare(plan, settings)
    if dry_run:
        show_plan(plan, settings, json)
        return 0
    for line in [] if quiet else overlap(plan, suite):
        print(line, file=sys.stderr)
    ended = launch.fill(plan, settings, defense_texts(request, suite), quiet)
    if ended is None:
        return 1
    records = launch.records_of(plan, settings.results)
    tried = settings_tried(records)
    choices = [
        _choice(best, grid, [one for one in records if one.cell.defense == name], tried)
        for name in plan.defenses
        if (best := choose([one for one in tried if one.defense == name], grid.max_clean_drop))
    ]
    path = out or default_path(settings.results, plan.cells[0].dataset, plan.cells[0].network)
    if choices:
        write_choices(path, choices)
    _show(tried, choices, path, json=json, quiet=quiet)
    code = launch.told_failures(ended)
    for name in plan.defenses:
        if name not in {choice.defense for choice in choices}:
            print(
                f"{name}: no setting keeps clean accuracy within {100 * grid.max_clean_drop:g} "
                "points; nothing was chosen: widen the grid, or raise --max-clean-drop",
                file=sys.stderr,
            )
            code = 1
    return code


def tuning_plan(request: Request, suite: Suite, grid: Grid) -> Plan:
    """Every setting on the validation attacks, and the trained model beside it.

    Of the suite its data set, network, defenses and validation attacks are used, not its cells.
    """
    whole = Suite(
        description="tune", dataset=suite.dataset, network=suite.network,
        defenses=", ".join(defense_texts(request, suite)),
        attacks=suite.validation_attacks or VALIDATION,
    )  # fmt: skip
    shots = [0, *(request.shots or [])]
    if not any(shots):
        raise UsageError("--shots 0 adapts to nothing; expected at least 1 to choose how")
    plans = []
    for method in request.methods or []:
        rates = [None] if method == "learned" else grid.rates  # which has rates of its own
        for steps in grid.steps:
            for lr in rates:
                said = {"methods": [method], "steps": steps, "lr": lr, "shots": shots}
                asked = request.model_copy(update={**said, "split": "validation"})
                plans.append(make_plan(asked, whole))
    cells = dict.fromkeys(cell for plan in plans for cell in plan.cells)
    place = {name: number for number, name in enumerate(plans[0].defenses)}
    ordered = sorted(cells, key=lambda cell: (cell.seed, place[cell.defense], cell.attack))
    return plans[0].model_copy(update={"cells": ordered})


def overlap(plan: Plan, suite: Suite) -> list[str]:
    """A line if the suite scores what settings are chosen on, or others of the family."""
    scored = make_plan(make_request({}), suite).attacks
    chosen = {Spec.parse(name).name: attack.family for name, attack in plan.attacks.items()}
    same = sorted({Spec.parse(name).name for name in scored} & set(chosen))
    family = sorted({attack.family for attack in scored.values()} & set(chosen.values()))
    if not family:
        return []
    what = f"the attacks {', '.join(same)} and " if same else ""
    return [
        f"note: the suite scores {what}the families {', '.join(family)}, on which settings are "
        "chosen here; records of them made with --tuned are flagged"
    ]


def settings_tried(records: Sequence[Record]) -> list[Trial]:
    """Each setting that every cell of was scored, in the order of the records."""
    from reports.tidy.aggregate import headline
    from reports.tidy.frame import from_records, rows

    table = headline(from_records(records, "validation"))
    lines = table[(table["scope"] == "all") & (table["over"] == "family mean")]
    adapted = lines[lines["shots"] > 0]
    found: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows(adapted):
        found.setdefault((row.defense, row.method, row.steps, row.lr), []).append(row)
    return [
        _tried(key, several) for key, several in found.items()
        if all(row.status == "done" for row in several)
    ]  # fmt: skip


def _tried(key: tuple[Any, ...], several: Sequence[Any]) -> Trial:
    """The mean over K; the interval of a mean of several K is the mean of theirs: no narrower."""

    def mean(values: Sequence[float]) -> float:
        return float(sum(values) / len(values))

    defense, method, steps, lr = key
    low, high = (mean([row.robust_interval[end] for row in several]) for end in (0, 1))
    return Trial(
        defense, method, steps, lr, mean([row.robust for row in several]), (low, high),
        mean([row.clean for row in several]), mean([row.robust_before for row in several]),
        max(float(row.clean_before - row.clean) for row in several),
    )  # fmt: skip


def choose(tried: Sequence[Trial], max_clean_drop: float) -> Trial | None:
    """The most robust of those that cost little clean accuracy; None if none does.

    Of equals the one with higher clean accuracy, then the cheaper, then the smaller steps.
    """
    kept = [one for one in tried if one.clean_drop <= max_clean_drop + 1e-9]
    key = lambda one: (-one.robust, -one.clean, one.steps, one.lr)  # noqa: E731
    return min(kept, key=key, default=None)


def _choice(best: Trial, grid: Grid, records: Sequence[Record], tried: Sequence[Trial]) -> Choice:
    done = [one for one in records if one.outcome is not None and one.cell.budget.adapts]
    cells = [one.cell for one in done]
    families = {one.cell.attack: one.family for one in done}
    return Choice(
        dataset=cells[0].dataset, network=cells[0].network, defense=best.defense,
        knowledge=cells[0].budget.knowledge, method=best.method, steps=best.steps, lr=best.lr,
        attacks=tuple(families), families=tuple(dict.fromkeys(families.values())),
        shots=tuple(sorted({cell.budget.shots for cell in cells})),
        seeds=tuple(sorted({cell.seed for cell in cells})), episodes=cells[0].episodes,
        n=min(one.outcome.before.n for one in done if one.outcome),
        candidates=sum(one.defense == best.defense for one in tried),
        max_clean_drop=grid.max_clean_drop, robust=best.robust, interval=best.interval,
        before=best.before, clean_drop=best.clean_drop,
        created=datetime.now(UTC).isoformat(timespec="seconds"), commit=fingerprint.commit(),
    )  # fmt: skip


def doubts(choice: Choice, tried: Sequence[Trial]) -> str:
    """What speaks against a choice: it lies at the end of the grid, or adapting gains nothing."""
    mine = [one for one in tried if (one.defense, one.method) == (choice.defense, choice.method)]
    grids: dict[str, set[float]] = {
        "steps": {one.steps for one in mine}, "lr": {one.lr for one in mine}
    }  # fmt: skip
    found = [
        f"{name} is the largest tried"
        for name, values in grids.items()
        if len(values) > 1 and getattr(choice, name) == max(values)
    ]
    if choice.robust <= choice.before:
        found.append("not adapting is at least as robust")
    return "".join(f"; {one}" for one in found)


def _show(
    tried: Sequence[Trial], choices: Sequence[Choice], path: Path, *, json: bool, quiet: bool
) -> None:
    """All settings, the most robust first, and what was chosen."""
    if json:
        found = [choice.model_dump(mode="json") for choice in choices]
        print(json_module.dumps({"choices": found, "tried": [one._asdict() for one in tried]}))
        return
    from rich.console import Console

    from reports.summary.tuning import table

    if not quiet:
        chosen = {(one.defense, one.method, one.steps, one.lr) for one in choices}
        Console(emoji=False, width=None if sys.stdout.isatty() else 1000).print(
            table(tried, chosen)
        )
    for choice in choices:
        kind = f"{choice.method}, {choice.steps} steps, lr {choice.lr:g}"
        print(f"{choice.defense}: {kind}, of {choice.candidates} settings{doubts(choice, tried)}")
    if choices:
        print(f"run --tuned {path}")
