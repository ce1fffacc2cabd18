"""Accuracy under every attack after each arrival of a sequence, with the worst case and clean."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.tidy.escape import drawable
from reports.tidy.frame import THEN, rows

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6D00")
"""After Okabe & Ito 2008, the yellow darkened."""
MARKS = "osD^vPX"
HEIGHT, LETTER = 2.15, 0.062


def sequence_figure(staged: pd.DataFrame) -> Figure:
    """A panel for each defense, budget and order of arrivals.

    From `arrivals.stages` of one data set and network, with `adaptation`. An attack's line is thin
    and its marks are hollow before it has arrived. Bars are 95% intervals of the worst case.
    """
    by = ["defense", "method", "knowledge", "shots", "steps", "lr", "sequence"]
    panels = [part for _, part in staged.groupby(by, sort=False)]
    orders = staged["sequence"].nunique()
    across = orders if orders in (2, 3) else min(len(panels), 3)  # orders side by side
    down = math.ceil(len(panels) / across)
    width = {1: 3.6, 2: 5.4}.get(across, 7.0)
    names = _names(staged)
    columns = {1: 2, 2: 3}.get(across, 4)
    below = 0.16 * math.ceil((len(names) + 2) / columns)
    height = 0.3 + HEIGHT * down + below
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw(axes, panel, names)
        _label(axes, panel.iloc[0], int(width / across / LETTER))
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel("correct (%)")
    first = staged.iloc[0]
    title = f"{first.dataset}, {first.network}: robust after each arrival (hollow: not shown yet)"
    figure.suptitle(drawable(title, int(width / LETTER)), x=0.01, ha="left", fontsize=7.5)
    handles: dict[str, Any] = {}
    for axes in grid.flat:
        found, labels = axes.get_legend_handles_labels()
        handles |= dict(zip(labels, found, strict=True))
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=columns, fontsize=6.5
    )
    return figure


def _names(staged: pd.DataFrame) -> list[str]:
    """The scored attacks: those that arrive first, in the order they do."""
    arrived = [name for text in staged["sequence"] for name in text.split(THEN)]
    start = staged.loc[staged["stage"] == 0, "measure"]
    scored = [name for name in start if name not in ("union", "clean")]
    return [name for name in dict.fromkeys([*arrived, *scored]) if name in {*scored}]


def _draw(axes: Axes, panel: pd.DataFrame, names: list[str]) -> None:
    arrivals = str(panel.iloc[0]["sequence"]).split(THEN)
    places = list(range(len(arrivals) + 1))

    def values(measure: str) -> list[Any]:
        found = {row.stage: row for row in rows(panel[panel["measure"] == measure])}
        return [found[stage] for stage in places if stage in found]

    clean, union = values("clean"), values("union")
    axes.plot(places, [100 * row.value for row in clean], color="#8C8C8C", ls="--", lw=1,
              label="clean")  # fmt: skip
    for number, name in enumerate(names):
        found = values(name)
        if not found:
            continue
        colour, mark = COLOURS[number % len(COLOURS)], MARKS[number // len(COLOURS) % len(MARKS)]
        y = [100 * row.value for row in found]
        when = arrivals.index(name) + 1 if name in arrivals else len(places)
        axes.plot(places[: when + 1], y[: when + 1], color=colour, lw=0.7)
        axes.plot(places[when:], y[when:], color=colour, lw=1.6)
        axes.plot(places[:when], y[:when], mark, color=colour, mfc="white", mew=0.8, ms=3)
        axes.plot(places[when:], y[when:], mark, color=colour, ms=3.4)
        axes.plot([], [], f"{mark}-", color=colour, ms=3.4, label=drawable(name, 26))
    low_high = [(100 * row.low, 100 * row.high) for row in union]
    axes.plot(places, [100 * row.value for row in union], color="black", lw=1.6,
              label="all that arrive, worst case")  # fmt: skip
    for place, (low, high) in zip(places, low_high, strict=True):
        axes.vlines(place, low, high, color="black", lw=0.7)
    axes.set_xticks(
        places, ["trained", *(drawable(name.partition("[")[0], 18) for name in arrivals)],
        rotation=25, ha="right", rotation_mode="anchor",
    )  # fmt: skip
    axes.set_xlim(-0.2, len(arrivals) + 0.2)
    axes.set_ylim(-2, 102)


def _label(axes: Axes, row: Any, letters: int) -> None:
    axes.set_title(drawable(row.defense, letters - 6), loc="left", pad=11)
    words = f"K = {row.shots}, {row.adaptation}"
    text = axes.annotate(
        drawable(words, letters), (0, 1), (0, 3), xycoords="axes fraction",
        textcoords="offset points", fontsize=6, color="#444444",
    )  # fmt: skip
    text.set_in_layout(False)
