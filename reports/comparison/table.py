"""Two defenses, or two results folders, cell by cell on the same images: a tidy table.

What is compared is robust@K (robust@0 where nothing adapts), and clean accuracy once per trained
model. The test and its treatment of episodes are those of `reports.statistics.paired`; p is
corrected over all cells compared (Holm).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmark.core.errors import UsageError, unknown
from benchmark.results.records import Cell, Record
from benchmark.results.store import atomic_path
from reports.archive.paths import label
from reports.statistics.intervals import Table
from reports.statistics.paired import change, change_intervals, holm
from reports.tidy.escape import visible
from reports.tidy.frame import THEN, rows
from reports.tidy.rows import by_family
from reports.tidy.verdicts import CellVerdicts, read_strictly, scored

EITHER = "*"
"""Stands in the name of a cell for either of two defenses."""
COLUMNS = (
    "dataset", "network", "defense", "seed", "attack", "family", "shots", "method", "knowledge",
    "steps", "lr", "shown", "n", "episodes", "a", "b", "points", "points_low", "points_high",
    "lost", "won", "odds", "p", "p_holm", "cell",
)  # fmt: skip
"""`a`, `b` in [0, 1]; `points` is b - a in percentage points with its 95% interval; `lost` counts
verdicts right in a and wrong in b, `won` the other way round; `odds` is won / lost."""
CELL = ("attack", "shots", "method", "knowledge", "steps", "lr", "shown", "query")
CLEAN = "clean"
"""The attack in rows of clean accuracy."""


class Comparison(NamedTuple):
    """The table, what its sides are called, and a line for each kind of cell left out.

    A results folder is called by its own name: where it lies is nobody's business.
    """

    table: pd.DataFrame
    a: str
    b: str
    left_out: list[str]


def compare(a: str, b: str, results: Path) -> Comparison:
    """Compare two results folders, or two defenses in `results` by the names tables show.

    Raises:
        UsageError: a name is unknown, records cannot be trusted, or no two cells pair.
    """
    folders = [_is_results(side) for side in (a, b)]
    if any(folders) and not all(folders):
        raise UsageError(
            f"expected two results folders or two names of defenses, got one of each: {visible(a)} "
            f"and {visible(b)}"
        )
    if all(folders):
        sides = [read_strictly(Path(side)) for side in (a, b)]
    else:
        records = read_strictly(results)
        sides = [_of_either(records, name) for name in (a, b)]
    first, second = (scored(side, name) for side, name in zip(sides, (a, b), strict=True))
    a, b = (Path(side).resolve().name if all(folders) else label(side) for side in (a, b))
    facts = _facts([*sides[0], *sides[1]])
    paired = [name for name in first if name in second and first[name].pairs_with(second[name])]
    left_out = list(_left_out(first, second, a, b))
    if not paired:
        raise UsageError(
            f"no cell of {visible(a)} pairs with one of {visible(b)} ({'; '.join(left_out)}); "
            "expected the same attacks and budgets on the same images"
        )
    tested = _tested([(first[name].table, second[name].table) for name in paired])
    entries = [
        facts[name] | numbers | {"cell": name} for name, numbers in zip(paired, tested, strict=True)
    ]
    entries.sort(key=_order)
    table = pd.DataFrame(entries, columns=[*COLUMNS])
    return Comparison(table.astype({"odds": "float64"}), a, b, left_out)


def compare_frames(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Rows of two tidy frames of one model each, paired by attack and budget.

    Raises:
        UsageError: no two of them are of the same images.
    """
    first, second = _by_cell(a), _by_cell(b)
    paired = [key for key in first if key in second and first[key].shape == second[key].shape]
    if not paired:
        raise UsageError("expected the same attacks and budgets on the same images; none pair")
    tested = _tested([(first[key], second[key]) for key in paired])
    keys = pd.DataFrame([dict(zip(CELL, key, strict=True)) for key in paired])
    return pd.concat([keys.drop(columns="query"), pd.DataFrame(tested)], axis=1)


def _by_cell(frame: pd.DataFrame) -> dict[tuple[Any, ...], Table]:
    """robust@K by what two rows must agree in."""
    done = frame[frame["status"] == "done"]
    return {tuple(getattr(row, name) for name in CELL): row.verdicts.robust for row in rows(done)}


def _tested(tables: Sequence[tuple[Table, Table]]) -> list[dict[str, Any]]:
    """The numbers of each cell; p is corrected over all of them."""
    changes = [change(*pair) for pair in tables]
    adjusted = holm([one.p for one in changes]).tolist()
    return [
        {
            "n": one.n, "episodes": one.episodes, "a": one.before, "b": one.after,
            "points": one.points, "points_low": 100 * ends.low, "points_high": 100 * ends.high,
            "lost": one.lost, "won": one.won, "odds": one.odds, "p": one.p, "p_holm": p,
        }
        for one, ends, p in zip(changes, change_intervals(tables), adjusted, strict=True)
    ]  # fmt: skip


def _left_out(
    first: dict[str, CellVerdicts], second: dict[str, CellVerdicts], a: str, b: str
) -> Iterator[str]:
    """A line for each kind of cell that pairs with none."""
    for side, here, there in ((a, first, second), (b, second, first)):
        names = [name for name in here if name not in there]
        if names:
            yield f"only in {visible(side)}: {len(names)} cells, e.g. {here[names[0]].shown}"
    both = [(first[name], second[name]) for name in first if name in second]
    others = [(one, other) for one, other in both if not one.pairs_with(other)]
    if others:
        one, other = others[0]
        yield (
            f"not of the same images or strength: {len(others)} cells, e.g. {one.shown}: "
            f"{one.size}, {other.size}"
        )


def write_comparison(found: Comparison, out: Path) -> list[Path]:
    """Write comparison.csv and comparison.json; UsageError if `out` cannot be written."""
    table, document = out / "comparison.csv", out / "comparison.json"
    with atomic_path(table) as temporary:
        found.table.to_csv(temporary, index=False, lineterminator="\n")
    with atomic_path(document) as temporary:
        temporary.write_text(json.dumps(as_json(found), indent=1) + "\n", encoding="utf-8")
    return [table, document]


def as_json(found: Comparison) -> dict[str, Any]:
    """One document; odds without a loss have no number in JSON and are null."""
    cells = [
        {name: _plain(value) for name, value in zip(COLUMNS, row, strict=True)}
        for row in rows(found.table[[*COLUMNS]])
    ]
    return {"a": found.a, "b": found.b, "left_out": found.left_out, "cells": cells}


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_results(side: str) -> bool:
    return os.path.isdir(os.path.join(side, "records"))  # where pathlib raises for long names


def _of_either(records: Sequence[Record], defense: str) -> list[Record]:
    """The records of one defense, under a name that both share; UsageError if there are none."""
    known = {record.cell.defense for record in records}
    defense = defense if defense in known else label(defense)
    if defense not in known:
        raise unknown("defense", visible(defense), map(visible, known))
    return [
        record.model_copy(update={"cell": record.cell.model_copy(update={"defense": EITHER})})
        for record in records
        if record.cell.defense == defense
    ]


def _facts(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """What the table says about each cell besides numbers, by its name."""
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        cell, budget = record.cell, record.cell.budget
        where = {name: getattr(cell, name) for name in ("dataset", "network", "defense", "seed")}
        how = {name: getattr(budget, name) for name in ("shots", "steps", "lr")}
        found[str(cell)] = where | how | {
            "attack": cell.attack, "family": record.family, "shown": THEN.join(cell.shown),
            "method": budget.method if budget.adapts else "none",
            "knowledge": budget.knowledge if budget.adapts else "",
        }  # fmt: skip
        found[f"{_trained(cell)}/{CLEAN}"] = where | {
            "attack": CLEAN, "family": "", "shown": "", "method": "none", "knowledge": "",
            "shots": 0, "steps": 0, "lr": 0.0,
        }  # fmt: skip
    return found


def _trained(cell: Cell) -> str:
    return f"{cell.dataset}/{cell.network}/{cell.defense}/s{cell.seed}"


def _order(entry: dict[str, Any]) -> tuple[Any, ...]:
    where = tuple(entry[name] for name in ("dataset", "network", "defense", "seed"))
    attack = entry["attack"] != CLEAN, by_family(entry["family"]), entry["attack"], entry["shown"]
    return (*where, *attack, entry["shots"], entry["cell"])
