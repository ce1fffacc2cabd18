"""A figure for one column of a paper: robust@K against K, with what stale examples claim as ghosts.

Above the mean over families, below each family alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from reports.plots.palette import Mark, marks
from reports.tidy.escape import drawable
from reports.tidy.frame import rows
from reports.tidy.rows import by_family

WIDTH, TALL, SMALL = 3.4, 1.75, 0.95
"""Inches: one column of print; the panel of the mean; a row of small ones."""
ACROSS = 3
MOST = 7
"""Defenses: more lines than colours cannot be told apart in a column."""
GHOST = 0.6
"""Of a colour, how much of it a ghost has."""
FAINT = "#8C8C8C"


def column_figure(
    head: pd.DataFrame, families: pd.DataFrame, known: Mapping[str, Mark] | None = None
) -> Figure | None:
    """From the `headline` and the `per_family` of one data set and network, with `adaptation`.

    Of the first way to adapt, over all attacks; the MOST defenses that are best at the largest K.
    Bars are 95% intervals. None where there is one K only, or no complete row at two of them.

    Args:
        head: the former.
        families: the latter.
        known: how each defense is drawn.
    """
    whole = head[(head["scope"] == "all") & (head["over"] == "family mean")]
    lines = _lines(whole)
    if not lines:
        return None
    shots = sorted({row.shots for part in lines.values() for row in part})
    best = sorted(lines, key=lambda name: -lines[name][-1].robust)[:MOST]
    known = known or marks(head["defense"])
    kinds = sorted({*families["family"]}, key=by_family)
    down, legend = math.ceil(len(kinds) / ACROSS), math.ceil((len(best) + 1) / 2)
    figure = Figure(
        figsize=(WIDTH, 0.3 + TALL + SMALL * down + 0.14 * (legend + 1)), layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.03)  # type: ignore[union-attr,call-arg]
    grid = figure.add_gridspec(1 + down, ACROSS, height_ratios=[TALL, *[SMALL] * down])
    axes = figure.add_subplot(grid[0, :])
    _draw(axes, {name: lines[name] for name in best}, known, shots, bars=True)
    axes.set_ylabel("correct (%)")
    axes.set_xlabel("K, shown examples per class")
    axes.set_title("robust@K, mean over families", loc="left", fontsize=7)
    below = families[families["defense"].isin(best) & families["family"].isin(kinds)]
    low, high = _limits(below)
    for number, kind in enumerate(kinds):
        small = figure.add_subplot(grid[1 + number // ACROSS, number % ACROSS])
        of_kind = _lines(families[families["family"] == kind])
        _draw(small, {name: of_kind[name] for name in best if name in of_kind}, known, shots)
        small.set_title(drawable(kind, 20), loc="left", fontsize=6, fontweight="normal", pad=2)
        small.set_ylim(low, high)
        small.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        small.tick_params(labelleft=number % ACROSS == 0)
        small.tick_params(labelsize=5.5)
    _legend(figure, best, known)
    first = whole.iloc[0]
    left_out = f"; the best {MOST} of {len(lines)}" if len(lines) > MOST else ""
    size = f"n = {whole['n'].min()} x {whole['episodes'].max()}"
    title = drawable(f"{first.dataset}, {first.network}, {size}; bars: 95%{left_out}", 62)
    figure.suptitle(title, x=0.01, ha="left", fontsize=7)
    return figure


def _lines(table: pd.DataFrame) -> dict[str, list[Any]]:
    """By defense its complete rows by K, of the first way to adapt; only where there are two."""
    adaptation = next((name for name in table["adaptation"] if name != "none"), "none")
    mine = table[table["adaptation"].isin(["none", adaptation]) & (table["status"] == "done")]
    found: dict[str, list[Any]] = {}
    for row in sorted(rows(mine), key=lambda row: int(row.shots)):
        found.setdefault(row.defense, []).append(row)
    return {name: part for name, part in found.items() if len(part) > 1}


def _limits(families: pd.DataFrame) -> tuple[float, float]:
    """In percent, tens around all that the small panels show."""
    shown = 100 * families[["robust", "static"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    return 10 * math.floor(low / 10), min(10 * math.ceil(high / 10), 100) + 2


def _draw(
    axes: Axes, lines: Mapping[str, Sequence[Any]], known: Mapping[str, Mark],
    shots: Sequence[int], bars: bool = False,
) -> None:  # fmt: skip
    """K evenly spaced; with bars, neighbours a little apart so that each is seen."""
    for number, (name, part) in enumerate(lines.items()):
        mark = known[name]
        aside = 0.045 * (number - (len(lines) - 1) / 2) if bars else 0.0
        x = [shots.index(row.shots) + aside for row in part]
        static = [100 * row.static for row in part]
        robust = [100 * row.robust for row in part]
        style: dict[str, Any] = {"color": mark.colour, "lw": 1.1, "ms": 3 if bars else 1.8}
        axes.plot(x, static, color=mark.colour, alpha=GHOST, lw=0.9, ls=(0, (3, 1.5)), zorder=2)
        axes.plot(x, robust, marker=mark.shape, zorder=3, clip_on=False, **style)
        for place, row in zip(x, part, strict=True) if bars else ():
            low, high = row.robust_interval
            axes.vlines(place, 100 * low, 100 * high, color=mark.colour, lw=0.6, alpha=0.45)
    axes.set_xticks(range(len(shots)), [str(k) for k in shots])
    axes.set_xlim(-0.25, len(shots) - 0.75)


def _legend(figure: Figure, names: Sequence[str], known: Mapping[str, Mark]) -> None:
    handles = [
        Line2D([], [], color=known[name].colour, marker=known[name].shape, ms=3, lw=1.1,
               label=drawable(name, 27))
        for name in names
    ]  # fmt: skip
    handles.append(Line2D([], [], color=FAINT, lw=0.8, ls=(0, (3, 1.5)), label="static@K (stale)"))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=2, fontsize=6, handletextpad=0.4,
        columnspacing=1.0, labelspacing=0.25,
    )  # fmt: skip
