"""A comparison of two results, on a terminal."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.comparison.table import CLEAN, EITHER, Comparison
from reports.tidy.escape import visible
from reports.tidy.frame import rows

CERTAIN = 0.05
"""Adjusted p below which a difference is marked."""


def print_comparison(found: Comparison, console: Console) -> None:
    """Print a table for each trained model (or pair of them), and what was left out."""
    by = ["dataset", "network", "defense", "seed"]
    for key, part in found.table.groupby(by, sort=False):
        names = [visible(str(name)) for name in key if name != EITHER]
        console.print(Text(f"\n{', '.join(names[:-1])}, seed {names[-1]}", style="bold"))
        console.print(_grid(part))
    certain = found.table[found.table["p_holm"] < CERTAIN]
    better, worse = ((certain["points"] * sign > 0).sum() for sign in (1, -1))
    console.print(
        Text(
            f"a = {visible(found.a)}, b = {visible(found.b)}: b is better in {better} and worse in "
            f"{worse} of {len(found.table)} cells (p < {CERTAIN:g} after Holm, marked *)."
        )
    )
    note = (
        "Percent correct; b - a in points with its 95% interval over images; lost: right in a and "
        "wrong in b; odds = won / lost; p: exact paired test per image, Holm over all cells."
    )
    console.print(Text(note, style="dim"))
    for line in found.left_out:
        console.print(Text(line, style="yellow"), soft_wrap=True)


def _grid(part: pd.DataFrame) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    heads = ("attack", "K", "a", "b", "b - a (95%)", "lost / won", "odds", "p (Holm)")
    for head in heads:
        left = head == "attack"
        grid.add_column(head, justify="left" if left else "right", no_wrap=not left)
    for row in rows(part):
        style = "bold" if row.p_holm < CERTAIN else ""
        grid.add_row(*(Text(text, style=style) for text in _cells(row)))
    return grid


def _cells(row: Any) -> tuple[str, ...]:
    budget = f", {row.method}, {row.knowledge}" if row.shots else ""
    after = f" after {visible(row.shown)}" if row.shown else ""
    mark = " *" if row.p_holm < CERTAIN else ""
    return (
        visible(row.attack, 40) + after + budget,
        "" if row.attack == CLEAN else str(row.shots),
        f"{100 * row.a:.1f}",
        f"{100 * row.b:.1f}",
        f"{row.points:+.1f} ({row.points_low:+.1f} to {row.points_high:+.1f})",
        f"{row.lost} / {row.won}",
        "" if pd.isna(row.odds) else f"{row.odds:.2g}",
        f"{row.p_holm:.2g}{mark}",
    )
