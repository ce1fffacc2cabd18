"""Dots with intervals: one model under each attack, and ways of adapting side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from reports.leaderboard.naming import namings, short_names
from reports.plots.palette import COLOURS, Mark, marks
from reports.tidy.escape import drawable
from reports.tidy.frame import rows
from reports.tidy.leave_one_out import told_apart
from reports.tidy.rows import by_family

WIDTH, ROW = 5.0, 0.28
"""Inches: of the figure, and of one attack in it."""
GAP = 0.8
"""Of a row's height, which budgets or defenses share."""
PAGE, WAY = 7.0, 0.19
"""Inches: two columns of print, and one way of adapting."""
MOST = 8
"""Panels: two rows of four."""
NOTHING = re.compile(r"amplify\[[^]]*\brepresentations=none\b[^]]*\]")
LETTER = 0.062
"""Inches that a letter of the 6.5 point text takes, generously."""


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


def adaptation_figure(
    attacks: pd.DataFrame, known: Mapping[str, Mark] | None = None
) -> Figure | None:
    """A panel for each attack, a row for each way of adapting; from `per_attack` of one network.

    Filled: robust@K of the largest K with its 95% interval. Hollow: static@K. Where the model does
    not adapt it is robust@0, which a line goes down from. None where there is one way.
    """
    done = attacks[
        (attacks["status"] == "done") & ~attacks["shots"].between(1, attacks["shots"].max() - 1)
    ]
    ways = [name for name in dict.fromkeys(done["adaptation"]) if name != "none"]
    if len(ways) < 2:
        return None
    means = done.groupby("adaptation")["robust"].mean()
    ways = ["none", *sorted(ways, key=lambda name: float(means[name]))]
    panels = list(dict.fromkeys(done["attack"]))[:MOST]
    names = list(dict.fromkeys(done["defense"]))
    known = known or marks(names)
    across = min(4, len(panels))
    down = math.ceil(len(panels) / across)
    figure = Figure(figsize=(PAGE, 0.75 + (0.35 + WAY * len(ways)) * down), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for axes, attack in zip(grid.flat, panels, strict=False):
        for row in rows(done[done["attack"] == attack]):
            offset = GAP * ((names.index(row.defense) + 0.5) / len(names) - 0.5)
            _draw_way(axes, row, ways.index(row.adaptation) + offset, known[row.defense])
        axes.set_title(drawable(attack, 24), fontsize=7, loc="left")
        axes.grid(True, axis="x")
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    grid[0, 0].set_yticks(range(len(ways)), [drawable(name, 44) for name in in_words(ways)])
    grid[0, 0].set_ylim(len(ways) - 0.4, -0.6)
    for axes in grid[-1]:
        axes.set_xlabel("correct (%)")
    _legend(figure, done, names, known)
    return figure


def in_words(ways: Sequence[str]) -> list[str]:
    """Ways of adapting, of which those that infer nothing are called so where no two are alike."""
    plain = [NOTHING.sub("nothing inferred", name) for name in ways]
    return [new if plain.count(new) == 1 else old for old, new in zip(ways, plain, strict=True)]


def _draw_way(axes: Axes, row: Any, place: float, mark: Mark) -> None:
    low, high = row.robust_interval
    axes.hlines(place, 100 * low, 100 * high, color=mark.colour, lw=0.9)
    if row.adaptation == "none":
        axes.axvline(100 * row.robust, color=mark.colour, lw=0.6, ls=":", zorder=1)
    else:
        axes.plot(100 * row.static, place, mark.shape, mec=mark.colour, mfc="white", ms=3.5)
    axes.plot(100 * row.robust, place, mark.shape, color=mark.colour, ms=4)


def _legend(
    figure: Figure, done: pd.DataFrame, names: list[str], known: Mapping[str, Mark]
) -> None:
    shots, first = int(done["shots"].max()), done.iloc[0]
    shown = told_apart(names)
    handles = [
        Line2D([], [], marker=known[name].shape, color=known[name].colour, ls="", ms=4,
               label=drawable(shown[name], 40))
        for name in names
    ]  # fmt: skip
    handles += [
        Line2D([], [], label=label, color="#444444", mfc=face, ls="", marker="o", ms=4)
        for label, face in (
            (f"robust@{shots}, 95%", "#444444"),
            (f"static@{shots} (stale)", "white"),
        )
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(handles)))
    n = int(done["n"].max())
    title = f"{first.dataset}, {first.network}, n = {n}; dotted: before adapting"
    figure.suptitle(drawable(title, int(PAGE / LETTER) - 10), x=0.01, ha="left", fontsize=7.5)
