"""`run --dry-run`: what a plan holds and would cost, however many cells that are."""

from __future__ import annotations

import json as json_module
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmark.artifacts.settings import RunSettings
from benchmark.plan import cost as estimate
from benchmark.plan.matrix import Plan
from benchmark.results.records import Cell
from benchmark.results.store import is_kept

EVERY = 200
"""Cells up to which each has its line; more are summed up, a line for each defense and attack."""
ENDS = 20
"""Lines shown of the beginning and of the end of a long summary."""
CELL_COLUMNS = (
    "defense", "seed", "shown", "attack", "budget", "episodes", "images", "passes", "seconds",
    "record",
)  # fmt: skip
LINE_COLUMNS = (
    "defense", "attack", "cells", "seeds", "K", "images", "passes", "seconds", "records",
)  # fmt: skip
AT_ONCE = 1000
"""Cells of JSON that are in memory at a time."""


class Line(NamedTuple):
    """What all cells of a defense and an attack have in common, and their sums."""

    defense: str
    attack: str
    cells: int
    seeds: int
    shots: list[int]
    images: int
    passes: int
    there: int


def show(plan: Plan, settings: RunSettings, json: bool) -> None:
    """Print every cell as JSON; for people, every cell or the sums of those alike."""
    costs = estimate.costs(plan)
    seconds = estimate.seconds_per_pass(plan, settings.device)
    if json:
        for piece in as_json(plan.cells, costs, seconds):
            sys.stdout.write(piece)
        return
    console = Console(
        emoji=False, width=None if sys.stdout.isatty() else 1000
    )  # a pipe has no width
    if len(plan.cells) <= EVERY:
        console.print(every_cell(plan, costs, seconds, settings.results))
    else:
        lines = summary(plan, costs, settings.results)
        console.print(summed_up(lines, seconds))
        console.print("a line sums up the cells of a defense and an attack; --json has each cell")
    console.print(estimate.total(costs, seconds))


def as_json(cells: Sequence[Cell], costs: Sequence[int], seconds: float) -> Iterator[str]:
    """One JSON document in pieces: each cell with its passes and seconds."""
    yield '{"cells": ['
    for start in range(0, len(cells), AT_ONCE):
        piece = zip(cells[start : start + AT_ONCE], costs[start : start + AT_ONCE], strict=True)
        texts = (_with_cost(cell.model_dump_json(), cost, seconds) for cell, cost in piece)
        yield (", " if start else "") + ", ".join(texts)
    yield "]}\n"


def _with_cost(cell: str, passes: int, seconds: float) -> str:
    cost = {"passes": passes, "seconds": round(passes * seconds, 3)}
    return f"{cell[:-1]},{json_module.dumps(cost)[1:]}"


def every_cell(plan: Plan, costs: Sequence[int], seconds: float, results: Path) -> Table:
    """A line per cell."""
    grid = _grid(CELL_COLUMNS)
    for cell, passes in zip(plan.cells, costs, strict=True):
        there = is_kept(results, cell)
        grid.add_row(
            escape(cell.defense), str(cell.seed), escape(", ".join(cell.shown)),
            escape(cell.attack), escape(str(cell.budget)),
            str(cell.episodes), str(_scored(cell, plan)), f"{passes:,}",
            f"{passes * seconds:.1f}", "there" if there else "",
        )  # fmt: skip
    return grid


def _grid(columns: Iterable[str]) -> Table:
    grid = Table(box=None, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    return grid


def summary(plan: Plan, costs: Iterable[int], results: Path) -> list[Line]:
    """A line for each defense and attack, in the plan's order: sums over seeds and budgets."""
    found: dict[tuple[str, str], list[tuple[Cell, int]]] = {}
    for cell, cost in zip(plan.cells, costs, strict=True):
        found.setdefault((cell.defense, cell.attack), []).append((cell, cost))
    begun = os.path.lexists(results / "records")
    return [
        Line(
            *key, len(group), len({cell.seed for cell, _ in group}),
            sorted({cell.budget.shots for cell, _ in group}), _scored(group[0][0], plan),
            sum(cost for _, cost in group),
            sum(is_kept(results, cell) for cell, _ in group) if begun else 0,
        )
        for key, group in found.items()
    ]  # fmt: skip


def _scored(cell: Cell, plan: Plan) -> int:
    size = estimate.scored_images(cell, plan.facts[cell.dataset])
    return min(cell.limit or size, size)


def summed_up(lines: Sequence[Line], seconds: float) -> Table:
    """The lines, or the first and last of very many."""
    grid = _grid(LINE_COLUMNS)
    left_out = len(lines) - 2 * ENDS
    for position, line in enumerate(lines):
        if left_out > 1 and position == ENDS:
            grid.add_row("...", f"{left_out:,} more lines")
        if left_out <= 1 or not ENDS <= position < len(lines) - ENDS:
            grid.add_row(
                escape(line.defense), escape(line.attack), f"{line.cells:,}", f"{line.seeds:,}",
                ",".join(map(str, line.shots)), f"{line.images:,}", f"{line.passes:,}",
                f"{line.passes * seconds:,.0f}", f"{line.there:,}",
            )  # fmt: skip
    return grid
