"""Accuracy against shots: what stale examples claim, beside what holds when attacked again."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.tidy.escape import drawable
from reports.tidy.frame import rows
from reports.tidy.leave_one_out import told_apart

ROBUST, STATIC, CLEAN = "#0072B2", "#D55E00", "#8C8C8C"
WIDTH, HEIGHT = 7.0, 1.9
"""Inches: two columns of print; a row of panels."""
MOST = 12
"""Panels: four rows of three fill a page."""
LETTER = 0.062
"""Inches that a letter of the 6.5 point text takes, generously."""


class Panel(NamedTuple):
    """A defense and how it adapts, with its lines of the headline by shots."""

    defense: str
    adaptation: str
    lines: list[Any]


def shots_figure(head: pd.DataFrame) -> Figure:
    """Small multiples, a panel per defense and adaptation, from the `headline` of one network.

    The mean over families: of the unseen attacks if the defense has any, else of the unknown, else
    of the seen ones. Bars are 95% intervals; the shaded gap is the inflation.
    """
    every = _panels(head[head["over"] == "family mean"])
    panels = _best(every)
    defenses = len({panel.defense for panel in panels})
    across = defenses if defenses <= 4 else 3
    down = math.ceil(len(panels) / across)
    width, legend_columns = {1: (3.4, 2), 2: (5.0, 3)}.get(across, (WIDTH, 5))
    height = 0.35 + 0.15 * math.ceil(5 / legend_columns) + HEIGHT * down
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    shots = sorted({*head["shots"]})
    several = len({panel.adaptation for panel in panels}) > 1
    names = told_apart([panel.defense for panel in panels])
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel, shots)
        named = panel._replace(defense=names[panel.defense])
        _name(axes, named, several, int(width / across / LETTER))
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for column in grid.T:
        lowest = [axes for axes in column if axes.get_visible()][-1]
        lowest.tick_params(labelbottom=True)
        lowest.set_xlabel("K, shown examples per class")
    figure.supylabel("correct (%)", fontsize=7.5)
    title = f"{head.iloc[0].dataset}, {head.iloc[0].network}"
    title += "" if several else f"; {panels[0].adaptation}"
    title += f"; the best {len(panels)} of {len(every)}" if len(panels) < len(every) else ""
    figure.suptitle(drawable(title, int(width / LETTER) - 10), x=0.01, ha="left", fontsize=7.5)
    entries = grid[0, 0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside lower center", ncols=legend_columns)
    return figure


def _panels(head: pd.DataFrame) -> list[Panel]:
    """Adaptation by adaptation, so that up to four defenses keep their column."""
    panels = []
    adaptations = [name for name in dict.fromkeys(head["adaptation"]) if name != "none"]
    for adaptation in adaptations or ["none"]:
        for defense in dict.fromkeys(head["defense"]):
            mine = head[
                (head["defense"] == defense) & head["adaptation"].isin([adaptation, "none"])
            ]
            found = {*mine["scope"]}
            scope = next((name for name in ("unseen", "unknown", "seen") if name in found), "all")
            lines = sorted(rows(mine[mine["scope"] == scope]), key=lambda row: int(row.shots))
            panels.append(Panel(defense, adaptation, lines))
    return [panel for panel in panels if panel.lines]


def _best(panels: list[Panel]) -> list[Panel]:
    """The MOST that fit a page, by robust@K of the largest K, in their order."""
    order = sorted(range(len(panels)), key=lambda i: -_robust(panels[i]))
    return [panels[i] for i in sorted(order[:MOST])]


def _robust(panel: Panel) -> float:
    value = panel.lines[-1].robust
    return -1.0 if pd.isna(value) else float(value)


def _draw(axes: Axes, panel: Panel, shots: list[int]) -> None:
    places = [shots.index(row.shots) for row in panel.lines]
    clean, static, again, robust = (
        [100 * getattr(row, name) for row in panel.lines]
        for name in ("clean", "static", "reattacked", "robust")
    )
    axes.plot(places, clean, color=CLEAN, lw=0.8, label="clean@K")
    axes.plot(places, static, "o--", color=STATIC, label="static@K")
    axes.plot(places, robust, "o-", color=ROBUST, label="robust@K")
    hollow: dict[str, Any] = {"mfc": "white", "mec": ROBUST, "mew": 0.7, "ms": 2.7}
    axes.plot(places, again, "D", label="reattacked@K", **hollow)
    axes.fill_between(
        places, robust, static, color=STATIC, alpha=0.14, lw=0, label="inflation (points)"
    )
    for name, colour in (("static_interval", STATIC), ("robust_interval", ROBUST)):
        _bars(axes, places, [getattr(row, name) for row in panel.lines], colour)
    margin = len(shots) / 4
    _measure_gap(axes, panel.lines[-1], places[-1] + 0.2 * margin, places[-1] + 0.28 * margin)
    axes.set_xticks(range(len(shots)), [str(count) for count in shots])
    axes.set_xlim(-0.3 * margin, len(shots) - 1 + margin)
    axes.set_ylim(-2, 102)


def _bars(axes: Axes, places: list[int], intervals: list[Any], colour: str) -> None:
    for place, ends in zip(places, intervals, strict=True):
        if isinstance(ends, tuple):
            axes.vlines(place, 100 * ends[0], 100 * ends[1], color=colour, lw=0.7, alpha=0.8)


def _measure_gap(axes: Axes, row: Any, x: float, x_text: float) -> None:
    """An arrow beside the largest K, from robust to static, with the inflation in points."""
    if row.shots == 0 or pd.isna(row.inflation):
        return
    low, high = 100 * row.robust, 100 * row.static
    if high - low > 4:
        arrow = {"arrowstyle": "<->", "lw": 0.6, "shrinkA": 0, "shrinkB": 0, "color": STATIC}
        axes.annotate("", (x, high), (x, low), arrowprops=arrow)
    number = f"{100 * row.inflation:.1f}"
    axes.text(x_text, (low + high) / 2, number, color=STATIC, va="center", fontsize=6.5)


def _name(axes: Axes, panel: Panel, several: bool, letters: int) -> None:
    """Title and, below it, what of it is too long, and over what the panel's mean goes."""
    last = panel.lines[-1]
    title, _, variant = panel.defense.partition(" (")
    if len(panel.defense) <= letters - 10:
        title, variant = panel.defense, ""
    parts = [variant.removesuffix(")")] * bool(variant) + [panel.adaptation] * several
    parts += [f"{last.attacks} {last.scope} attacks in {last.families} families"]
    holes = [str(row.shots) for row in panel.lines if row.status != "done"]
    parts += [f"incomplete at K = {', '.join(holes)}"] if holes else []
    axes.set_title(drawable(title, letters - 10), loc="left", pad=4 + 8 * len(parts))
    below = "\n".join(drawable(part, letters) for part in parts)
    text = axes.annotate(
        below, (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
        fontsize=6, color="#444444",
    )  # fmt: skip
    text.set_in_layout(False)
