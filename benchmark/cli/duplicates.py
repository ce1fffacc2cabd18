"""`duplicates`: which attacks do the same to the same images of the same models.

The matrix is run as ever, without adapting; what it crafted is read from the cache and compared.
Records hold verdicts alone, so that a report could not tell.
"""

from __future__ import annotations

import json as json_module
import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.artifacts.models import Model
from benchmark.artifacts.settings import RunSettings
from benchmark.cli import launch
from benchmark.cli.dry_run import show as show_plan
from benchmark.core.errors import UsageError
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import Meter, correct
from benchmark.execution.loading import InputLoader
from benchmark.execution.progress import QuietProgress
from benchmark.plan.matrix import Plan, defense_texts, make_plan
from benchmark.plan.request import Suite, make_request
from benchmark.results.records import Cell
from reports.summary.duplicates import Crafted, Similar, as_json, print_similar, similar, write

WHOLE = Suite(description="duplicates", attacks="all", shots=[0])
MOST = 4_000_000_000
"""Bytes of perturbations that are compared at a time."""


def duplicates(
    values: Mapping[str, Any], threshold: float, settings: RunSettings, out: Path | None, *,
    quiet: bool, json: bool, dry_run: bool,
) -> int:  # fmt: skip
    """Run what is missing, compare, print, write; the exit code: 1 where cells failed.

    Args:
        values: what is asked for, by field of a `Request`.
        threshold: similarity in [0, 1] from which two attacks are duplicates.
        settings: as flags say.
        out: folder of the files; None is `duplicates` in the results.
        quiet: no progress and no table.
        json: pairs and clusters as JSON.
        dry_run: show the plan only.
    """
    settings, request = launch.check(settings), make_request(values)
    plan = make_plan(request, WHOLE, settings.strengths)
    settings = launch.prepare(plan, settings)
    _check_size(plan)
    if dry_run:
        show_plan(plan, settings, json)
        return 0
    if not quiet:
        launch.tell_before(plan, settings)
    ended = launch.fill(plan, settings, defense_texts(request, WHOLE), quiet)
    if ended is None:
        return 1
    with redirect_stdout(sys.stderr):  # a user's model may print
        found = compared(plan, settings, threshold)
    _show(found, out or settings.results / "duplicates", json=json, quiet=quiet)
    return launch.told_failures(ended)


def _check_size(plan: Plan) -> None:
    facts = plan.facts[plan.cells[0].dataset]
    numbers, limit = math.prod(facts.shape), plan.cells[0].limit or facts.sizes[-1]
    most = MOST // (4 * numbers * len(plan.attacks))
    if limit > most:
        raise UsageError(
            f"--limit {limit}: {len(plan.attacks)} attacks on so many images of "
            f"{numbers:,} numbers are more than {MOST / 1e9:g} GB; ask for at most {most}"
        )


def compared(plan: Plan, settings: RunSettings, threshold: float) -> Similar:
    """How alike the attacks of a finished plan are.

    Raises:
        UsageError: fewer than two attacks were run on every model.
    """
    loader = InputLoader(plan.attacks, plan.defenses, settings, QuietProgress())
    done = {record.cell: record for record in launch.records_of(plan, settings.results)}
    ended = {cell: done[cell].status if cell in done else "missing" for cell in plan.cells}
    by_model: dict[str, list[Cell]] = {}
    for cell, status in ended.items():
        if status == "done":
            by_model.setdefault(cell.defense, []).append(cell)
    names = [
        name for name in plan.attacks
        if all(name in {cell.attack for cell in by_model.get(one, [])} for one in plan.defenses)
    ]  # fmt: skip
    left_out = {
        cell.attack: f"{status}: {done[cell].reason}" if cell in done else status
        for cell, status in ended.items()
        if status != "done"
    }
    models = {name: loader.model(cells[0]) for name, cells in by_model.items()}
    crafted = [
        _crafted([{cell.attack: cell for cell in cells}[name] for name in names], loader, models)
        for cells in by_model.values()
    ]
    passes = [plan.attacks[name].passes for name in names]
    families = [str(plan.attacks[name].family) for name in names]
    data = f"{plan.cells[0].dataset}, {plan.cells[0].network}"
    return similar(names, families, passes, crafted, threshold, left_out, data)


def _crafted(cells: Sequence[Cell], loader: InputLoader, models: Mapping[str, Model]) -> Crafted:
    """What every attack made of the images of one model, and how all models judge it."""
    moved, stood = [], {name: [] for name in models}  # type: ignore[var-annotated]
    inputs = loader.inputs(cells[0])
    query = inputs.query(cells[0].limit)
    for cell in cells:
        images = inputs.static(cell, Meter()).images
        moved.append((images - query.images).flatten(1).float().cpu().numpy())
        for name, model in models.items():
            verdicts = correct(model.network, Batch(images, query.labels))
            stood[name].append(verdicts.cpu().numpy())
    clean = {name: correct(model.network, query).cpu().numpy() for name, model in models.items()}
    tables = {name: np.stack(rows) for name, rows in stood.items()}
    return Crafted(cells[0].defense, np.stack(moved), clean, tables)


def _show(found: Similar, out: Path, *, json: bool, quiet: bool) -> None:
    files = write(found, out)
    if json:
        print(json_module.dumps(as_json(found), allow_nan=False))
        return
    if not quiet:
        print_similar(found)
    for path in files:
        print(path, file=sys.stderr)
