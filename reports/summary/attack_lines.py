"""A line for each attack, where a run has few; and what stands where some of them failed."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.statistics.scores import QUANTITIES
from reports.tidy.aggregate import headline, per_attack
from reports.tidy.escape import visible
from reports.tidy.format import percent
from reports.tidy.frame import rows
from reports.tidy.rows import Key

FEW, LINES = 6, 24
"""Attacks, and lines, up to which each is printed."""

ADAPTED = {"static": "static\n@K", "robust": "robust@K\n(95%)", "inflation": "infla-\ntion"}
TRAINED = {"robust": "robust\n(95%)"}


def with_what_is_there(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """`headline`, rows with a hole filled with their numbers over the attacks that all have.

    Their status stays: such a number is no score, and compares with none over other attacks.
    """
    attacks = per_attack(frame)
    place = ["dataset", "network", "attack"]
    holes = {*zip(*(attacks.loc[attacks["status"] != "done", name] for name in place), strict=True)}
    kept = [spot not in holes for spot in zip(*(frame[name] for name in place), strict=True)]
    if all(kept) or not any(kept):
        return table
    key = [*Key._fields, "scope", "over"]
    there = headline(frame[kept]).set_index(key)
    filled = table.set_index(key)
    undone = filled.index[filled["status"] != "done"].intersection(there.index)
    filled.loc[undone, list(QUANTITIES)] = there.loc[undone, list(QUANTITIES)]
    return filled.reset_index()[table.columns]


def print_by_attack(frame: pd.DataFrame, dataset: str, network: str, console: Console) -> None:
    """The numbers of every attack, where there are 2 to FEW; one that failed is said to have."""
    here = frame[(frame["dataset"] == dataset) & (frame["network"] == network)]
    lines = per_attack(here)
    if not 2 <= lines["attack"].nunique() <= FEW or len(lines) > LINES:
        return
    several, adapts = lines["defense"].nunique() > 1, bool(lines["shots"].any())
    heads = {"attack": "attack"} | ({"defense": "defense"} if several else {})
    heads |= ({"shots": "K"} if adapts else {}) | {"clean": "clean"}
    heads |= ADAPTED if adapts else TRAINED
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, head in heads.items():
        left = name in ("attack", "defense")
        grid.add_column(head, justify="left" if left else "right", no_wrap=True)
    for row in rows(lines):
        grid.add_row(*(Text(_cell(row, name)) for name in heads))
    console.print(grid)


def _cell(row: Any, name: str) -> str:
    value = getattr(row, name)
    if name in ("attack", "defense"):
        return visible(str(value), 24)
    if name == "shots":
        return str(value)
    if name == "robust" and row.status != "done":
        return "failed" if row.failed else f"{row.scored}/{row.expected} cells"
    if row.shots == 0 and name in ("static", "inflation"):
        return ""
    return percent(value, row.robust_interval if name == "robust" else None)
