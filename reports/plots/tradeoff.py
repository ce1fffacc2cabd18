"""Clean against robust accuracy with the Pareto front, and what a gain cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from reports.leaderboard.threats import ALL
from reports.plots.palette import Mark, marks
from reports.tidy.escape import drawable
from reports.tidy.frame import rows
from reports.tidy.training_cost import in_short

WIDTH, HEIGHT, PANEL = 3.4, 2.8, 2.9
"""Inches: one column of print."""
FAINT = "#8C8C8C"


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other is at least as good as in both, and better in one.

    >>> pareto([(0.9, 0.1), (0.8, 0.5), (0.7, 0.4), (0.8, 0.3)])
    [0, 1]
    """
    return [
        i for i, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)
    ]  # fmt: skip


def plane_figure(table: pd.DataFrame, known: Mapping[str, Mark] | None = None) -> Figure | None:
    """Each defense before (hollow) and after adapting with the largest K, from `board`.

    Both accuracies as in the leaderboard, with 95% intervals; the stairs are the Pareto front of
    what is filled. Of one data set and network; None where no row is complete.
    """
    mine = table[(table["threat"] == ALL) & (table["status"] == "done")]
    if not len(mine):
        return None
    shots = int(mine["shots"].max())
    last, first = (rows(mine[mine["shots"] == k]) for k in (shots, 0))
    known = _of(known or marks(mine["defense"]), mine)
    columns = 2
    figure = Figure(
        figsize=(WIDTH, HEIGHT + 0.15 * math.ceil(len(known) / columns)), layout="constrained"
    )
    axes = figure.subplots()
    start = {row.defense: row for row in first}
    for row in last:
        _point(axes, row, known[row.defense], start.get(row.defense) if shots else None)
    _front(axes, [(100 * row.clean, 100 * row.robust) for row in last])
    axes.set_xlabel("clean (%)")
    axes.set_ylabel("robust (%)")
    axes.grid(True, axis="both")
    _legend(figure, known, columns)
    axes.text(0.02, 0.02, "dashed: Pareto front", transform=axes.transAxes, color=FAINT, fontsize=6)
    before = "; hollow K = 0" if shots else ""
    _title(figure, table, f"{before}; filled K = {shots}")
    return figure


def _point(axes: Axes, row: Any, mark: Mark, start: Any) -> None:
    x, y = 100 * row.clean, 100 * row.robust
    (left, right), (low, high) = row.clean_interval, row.robust_interval
    axes.hlines(y, 100 * left, 100 * right, color=mark.colour, lw=0.6, alpha=0.6)
    axes.vlines(x, 100 * low, 100 * high, color=mark.colour, lw=0.6, alpha=0.6)
    axes.plot(x, y, marker=mark.shape, color=mark.colour, ms=4.5, ls="", zorder=4)
    if start is not None:
        before = 100 * start.clean, 100 * start.robust
        arrow = {"arrowstyle": "-", "lw": 0.8, "color": mark.colour, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (x, y), before, arrowprops=arrow)
        axes.plot(*before, marker=mark.shape, mec=mark.colour, mfc="white", ms=4, ls="", zorder=3)


def _front(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    best = sorted(points[i] for i in pareto(points))
    (left, right), (low, _) = axes.get_xlim(), axes.get_ylim()
    x = [left, *(x for x, _ in best), best[-1][0]]
    y = [best[0][1], *(y for _, y in best), low]
    axes.step(x, y, where="pre", color=FAINT, lw=0.8, ls="--", zorder=1)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom=low)


COSTS = {
    "training_passes": "training (passes)",
    "adaptation_passes": "adaptation (passes an episode)",
}


ALIKE = 1.1
"""Ratio of costs up to which they count as equal, as in `report --equal-training pgd_at:10%`."""


def cost_figure(table: pd.DataFrame, known: Mapping[str, Mark] | None = None) -> Figure | None:
    """gain@K of the largest K against what training and one adaptation took, from `board`.

    A panel for each cost in which they differ; None where nothing adapts or none is known.
    """
    shots = int(table["shots"].max())
    mine = table[(table["threat"] == ALL) & (table["status"] == "done") & (table["shots"] == shots)]
    panels = [name for name in COSTS if _differs(mine[name].astype("Float64").dropna())]
    if not shots or not panels:
        return None
    known = _of(known or marks(table["defense"]), table)
    columns = 2 * len(panels)
    height = 2.2 + 0.15 * math.ceil(len(known) / columns)
    figure = Figure(figsize=(0.5 + PANEL * len(panels), height), layout="constrained")
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, name in zip(grid, panels, strict=True):
        for row in rows(mine):
            _gain(axes, row, getattr(row, name), known[row.defense])
        axes.axhline(0, color="#444444", lw=0.6)
        _scale(axes)
        axes.set_xlabel(COSTS[name])
    grid[0].set_ylabel(f"gain@{shots} (points)")
    _legend(figure, known, columns)
    _title(figure, table, "; bars: 95%")
    return figure


def _differs(costs: pd.Series) -> bool:
    """Whether there is something to see: one cost, or several that are not about the same."""
    paid = costs[costs > 0]
    return len(paid) > 0 and (len(costs) == 1 or bool(paid.max() > ALIKE * costs.min()))


def _gain(axes: Axes, row: Any, cost: Any, mark: Mark) -> None:
    if not pd.isna(cost) and cost > 0:
        low, high = row.gain_interval
        axes.vlines(float(cost), 100 * low, 100 * high, color=mark.colour, lw=0.8, alpha=0.7)
        axes.plot(float(cost), 100 * row.gain, marker=mark.shape, color=mark.colour, ms=4.5, ls="")


def _scale(axes: Axes) -> None:
    """Logarithmic over more than a factor of 3; no mathematical text, which names forbid."""
    low, high = axes.dataLim.intervalx
    if high > 3 * low:
        axes.set_xscale("log")
        steps = (1.0, 2, 5) if high < 100 * low else (1.0,)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        axes.xaxis.set_major_locator(
            FixedLocator([step * 10.0**decade for decade in decades for step in steps])
        )
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.12)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: in_short(value)))


def _of(known: Mapping[str, Mark], table: pd.DataFrame) -> dict[str, Mark]:
    """The marks of the defenses that are in a table."""
    return {name: known[name] for name in dict.fromkeys(table["defense"])}


def _legend(figure: Figure, known: Mapping[str, Mark], columns: int) -> None:
    handles = [
        Line2D([], [], marker=m.shape, color=m.colour, ls="", ms=4, label=drawable(name, 26))
        for name, m in known.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handletextpad=0.2)


def _title(figure: Figure, table: pd.DataFrame, more: str) -> None:
    first = table.iloc[0]
    text = drawable(f"{first.dataset}, {first.network}{more}", 54)
    figure.suptitle(text, x=0.01, ha="left", fontsize=7.5)
