"""The defense x attack heat map of robust@K, before and after adaptation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from reports.tidy.escape import drawable
from reports.tidy.frame import rows
from reports.tidy.rows import by_family

COLOURS = "Blues"
MARK, INK, FAINT = "#D55E00", "#333333", "#AAAAAA"
WIDTH = 7.0
ROW, WIDEST, NARROWEST, CROWDED = 0.155, 0.62, 0.34, 0.14
RIGHT, BOTTOM, BETWEEN = 1.0, 0.3, 0.16
"""Inches. Attacks go down the page, so that forty-five of them fit."""
LETTER = 0.056
"""Inches that a letter of the 6.5 point labels takes, generously."""
TILT = 38
MANY = 24
"""Columns beyond which there are no numbers: nobody prints those, and they take the time."""


class Half(NamedTuple):
    """One side of the figure: the cells of one K, by (attack, column)."""

    shots: int
    columns: list[tuple[str, str]]
    """Defense and adaptation."""
    cells: dict[tuple[str, str, str], Any]


def matrix_figure(attacks: pd.DataFrame) -> Figure:
    """Attacks (by family) down, defenses across; K = 0 and the largest K side by side.

    From the `per_attack` of one data set and network. Empty cells are hatched.
    """
    found = {(row.family, row.attack) for row in rows(attacks)}
    names = sorted(found, key=lambda pair: (by_family(pair[0]), pair[1]))
    halves = [_half(attacks, shots) for shots in sorted({0, int(attacks["shots"].max())})]
    halves = [half for half in halves if half.columns]
    labels = [drawable(attack, 34) for _, attack in names]
    left = 0.15 + LETTER * max(*map(len, labels), 12)
    across = sum(len(half.columns) for half in halves)
    numbers = across <= MANY
    least = NARROWEST if numbers else CROWDED
    cell = min(WIDEST, max(least, (WIDTH - left - RIGHT - BETWEEN) / across))
    longest = max(len(heading) for half in halves for heading in _headings(half))
    tilt = (TILT if numbers else 90) if LETTER * longest > cell - 0.06 else 0
    above = LETTER * longest * math.sin(math.radians(tilt)) + 0.05 if tilt else 0.14
    width = left + cell * across + BETWEEN * (len(halves) - 1) + RIGHT
    height = BOTTOM + ROW * len(names) + above + 0.42
    figure = Figure(figsize=(width, height))
    start = left
    for half in halves:
        size = cell * len(half.columns)
        box = (start / width, BOTTOM / height, size / width, ROW * len(names) / height)
        axes = figure.add_axes(box)
        _draw(axes, half, names, numbers)
        _head(axes, half, tilt, above)
        start += size + BETWEEN
    figure.axes[0].set_yticks(np.arange(len(names)) + 0.5, labels)
    _families(axes, [family for family, _ in names])
    _legend(figure)
    first = attacks.iloc[0]
    title = drawable(f"{first.dataset}, {first.network}: robust@K, percent correct")
    figure.text(0.1 / width, 1 - 0.16 / height, title, fontsize=7.5)
    return figure


def _half(attacks: pd.DataFrame, shots: int) -> Half:
    mine = rows(attacks[attacks["shots"] == shots])
    columns = list(dict.fromkeys((row.defense, row.adaptation) for row in mine))
    return Half(shots, columns, {(row.attack, row.defense, row.adaptation): row for row in mine})


def _draw(axes: Axes, half: Half, names: Sequence[tuple[str, str]], numbers: bool) -> None:
    grid = np.full((len(names), len(half.columns)), np.nan)
    for y, (_, attack) in enumerate(names):
        for x, column in enumerate(half.columns):
            row = half.cells.get((attack, *column))
            grid[y, x] = np.nan if row is None else row.robust
            status = "missing" if row is None else row.status
            if numbers or status != "done":
                _annotate(axes, x, y, status, grid[y, x])
    axes.pcolormesh(
        np.ma.masked_invalid(grid), cmap=COLOURS, vmin=0, vmax=1.15, edgecolors="white", lw=0.8
    )
    _mark_seen(axes, half, names)
    axes.set_yticks([])
    axes.set_ylim(len(names), 0)
    axes.set_xlim(0, len(half.columns))
    axes.tick_params(length=0, pad=1.5, labelsize=6.5)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    for y in _starts([family for family, _ in names])[1:]:
        axes.axhline(y, color=INK, lw=0.5)


def _head(axes: Axes, half: Half, tilt: int, above: float) -> None:
    """Column labels, and K over them."""
    places = np.arange(len(half.columns)) + (0.35 if 0 < tilt < 90 else 0.5)
    axes.xaxis.tick_top()
    axes.set_xticks(
        places, _headings(half), rotation=tilt, ha="left" if tilt else "center",
        va="center" if tilt == 90 else "baseline", rotation_mode="anchor",
    )  # fmt: skip
    text = f"K = {half.shots}"
    axes.annotate(
        text, (0, 1), (0, 72 * above + 5), xycoords="axes fraction", textcoords="offset points",
        fontweight="bold",
    )  # fmt: skip


def _headings(half: Half) -> list[str]:
    """The defense, with its adaptation where a defense has several."""
    several = len(half.columns) > len({defense for defense, _ in half.columns})
    return [
        drawable(f"{defense}: {adaptation}" if several else defense, 26)
        for defense, adaptation in half.columns
    ]


def _annotate(axes: Axes, x: int, y: int, status: str, value: float) -> None:
    text, colour = {"failed": ("failed", MARK), "skipped": ("n/a", "#777777")}.get(
        status, ("", INK)
    )
    if status == "done":
        text, colour = f"{100 * value:.0f}", "white" if value > 0.6 else INK
    elif status == "missing":
        axes.add_patch(Rectangle((x, y), 1, 1, fc="none", ec=FAINT, hatch="////", lw=0))
    if text:
        size = 6 if status == "done" else 5
        axes.text(x + 0.5, y + 0.53, text, ha="center", va="center", fontsize=size, color=colour)


def _mark_seen(axes: Axes, half: Half, names: Sequence[tuple[str, str]]) -> None:
    """A corner for cells whose family training used; a hollow one where nobody knows."""
    for scope, face in (("seen", MARK), ("unknown", "white")):
        corners = [
            [(x + 0.04, y + 0.08), (x + 0.2, y + 0.08), (x + 0.04, y + 0.48)]
            for y, (_, attack) in enumerate(names)
            for x, column in enumerate(half.columns)
            if getattr(half.cells.get((attack, *column)), "scope", None) == scope
        ]
        axes.add_collection(PolyCollection(corners, fc=face, ec=MARK, lw=0.5, zorder=3))


def _starts(families: Sequence[str]) -> list[int]:
    return [y for y, family in enumerate(families) if y == 0 or families[y - 1] != family]


def _families(axes: Axes, families: Sequence[str]) -> None:
    """Name the families at the right, each in the middle of its rows."""
    starts = _starts(families)
    for first, last in zip(starts, [*starts[1:], len(families)], strict=True):
        axes.annotate(
            drawable(families[first], 18), (1, (first + last) / 2), (5, 0),
            xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", fontsize=6.5, style="italic", color=INK,
        )  # fmt: skip


def _legend(figure: Figure) -> None:
    corner: dict[str, Any] = {"marker": (3, 0, 45), "ls": "", "ms": 4.5, "mec": MARK, "mew": 0.5}
    handles = [
        Line2D([], [], mfc=MARK, label="family seen in training", **corner),
        Line2D([], [], mfc="white", label="unknown whether seen", **corner),
        Patch(fc="white", ec=FAINT, hatch="//////", lw=0, label="missing"),
    ]
    figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.01, 0.0), ncols=3, fontsize=6.5,
        columnspacing=1.2, handletextpad=0.3, handlelength=1.4,
    )  # fmt: skip
