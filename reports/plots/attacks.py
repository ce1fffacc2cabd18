"""Robust accuracy of one model under each attack, beside its clean accuracy."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.leaderboard.naming import namings, short_names
from reports.plots.palette import COLOURS
from reports.tidy.escape import drawable
from reports.tidy.frame import rows
from reports.tidy.rows import by_family

WIDTH, ROW = 5.0, 0.28
"""Inches: of the figure, and of one attack in it."""
GAP = 0.8
"""Of a row's height, which the budgets share."""


def attacks_figure(frame: pd.DataFrame) -> Figure:
    """A row for each attack, by family; a point with its 95% interval for each K, clean dashed.

    What failed or was skipped stands there with its status.
    """
    table = frame.assign(order=frame["family"].map(by_family)).sort_values(["order", "attack"])
    names = list(dict.fromkeys(table["attack"]))
    shots = sorted(set(table["shots"]))
    figure = Figure(figsize=(WIDTH, 1.1 + ROW * len(names) * max(1, len(shots) / 2)),
                    layout="constrained")  # fmt: skip
    axes = figure.subplots()
    for place, k in enumerate(shots):
        offset = GAP * ((place + 0.5) / len(shots) - 0.5)
        _draw(axes, table[table["shots"] == k], names, offset, COLOURS[place % len(COLOURS)], k)
    axes.set_yticks(range(len(names)), [drawable(name, 40) for name in names])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("correct (%)")
    axes.grid(True, axis="x")
    first = frame.iloc[0]
    name = short_names(namings(frame))[first.defense]
    title = drawable(f"{first.dataset}: {name}, n = {frame['n'].max()}", 70)
    figure.suptitle(title, fontsize=8)
    figure.legend(loc="outside lower center", ncols=4, fontsize=7, frameon=False)
    return figure


def _draw(
    axes: Axes, table: pd.DataFrame, names: list[str], offset: float, colour: str, shots: int
) -> None:
    done = [row for row in rows(table) if row.status == "done"]
    places = [names.index(row.attack) + offset for row in done]
    values = [100 * row.robust for row in done]
    axes.plot(values, places, "o", color=colour, ms=4, label=f"robust@{shots}", clip_on=False)
    for row, place in zip(done, places, strict=True):
        low, high = row.robust_interval
        axes.hlines(place, 100 * low, 100 * high, color=colour, lw=1, clip_on=False)
    if done:
        axes.axvline(100 * done[0].clean, color=colour, lw=0.8, ls="--", label=f"clean@{shots}")
    for row in rows(table):
        if row.status != "done":
            axes.text(1, names.index(row.attack) + offset, row.status, fontsize=6, va="center")
