"""Accuracy against eps, where an attack was run at several strengths."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.plots.palette import Mark, marks
from reports.tidy.escape import drawable
from reports.tidy.frame import rows

WIDTH, HEIGHT, ACROSS = 7.0, 1.9, 4
STRENGTHS = 2
"""Of a curve, besides clean accuracy at 0."""
_EPS = re.compile(r"\beps=[^,\]]*,?|,eps=[^,\]]*")

Panel = tuple[str, str, int]
Curves = dict[str, dict[float, Any]]
"""By defense, then by eps: a line of `per_attack`."""


def strength_figure(
    attacks: pd.DataFrame, known: Mapping[str, Mark] | None = None
) -> Figure | None:
    """A panel per attack, for K = 0 and the largest K; a line per defense, 95% intervals as bars.

    At 0 stands clean accuracy. From the `per_attack` of one data set and network; None where no
    attack has two strengths.
    """
    panels = _panels(attacks)
    if not panels:
        return None
    known = known or marks(attacks["defense"])
    drawn = {*attacks["defense"]}
    down, across = math.ceil(len(panels) / ACROSS), min(ACROSS, len(panels))
    width = WIDTH if across > 2 else 0.6 + 2.2 * across
    legend_rows = math.ceil(len(drawn) / (2 * across))
    figure = Figure(
        figsize=(width, HEIGHT * down + 0.3 + 0.16 * (1 + legend_rows)), layout="constrained"
    )
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes, (panel, curves) in zip(grid.flat, panels.items(), strict=False):
        _draw(axes, panel, curves, known)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("correct (%)")
    handles = {
        label: handle
        for axes in grid.flat
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2 * across)
    first = attacks.iloc[0]
    title = drawable(f"{first.dataset}, {first.network}: robust@K against strength", 70)
    figure.suptitle(title, x=0.01, ha="left", fontsize=7.5)
    return figure


def _panels(attacks: pd.DataFrame) -> dict[Panel, Curves]:
    """By attack, norm and K; attacks that some defense met in several strengths."""
    largest = attacks["shots"].max()
    adaptation = next((a for a in attacks["adaptation"] if a != "none"), "none")
    found: defaultdict[Panel, Curves] = defaultdict(lambda: defaultdict(dict))
    for row in rows(attacks):
        norm, _, size = str(row.threat).partition(" ")
        wanted = row.shots == 0 or (row.shots == largest and row.adaptation == adaptation)
        if wanted and row.status == "done" and re.fullmatch(r"\d+(\.\d+)?(e-?\d+)?", size):
            name = _EPS.sub("", row.attack).replace("[]", "")
            found[name, norm, row.shots][row.defense][float(size)] = row
    return {
        key: found[key] for key in sorted(found) if max(map(len, found[key].values())) >= STRENGTHS
    }


def _draw(axes: Axes, panel: Panel, curves: Curves, known: Mapping[str, Mark]) -> None:
    name, norm, shots = panel
    for defense, by_eps in curves.items():
        mark, points = known[defense], sorted(by_eps.items())
        x = [0.0, *(eps for eps, _ in points)]
        y = [100 * points[0][1].clean, *(100 * row.robust for _, row in points)]
        axes.plot(
            x, y, marker=mark.shape, color=mark.colour, ls=mark.dash, lw=1.1, ms=3,
            label=drawable(defense, 24),
        )  # fmt: skip
        for eps, row in points:
            low, high = row.robust_interval
            axes.vlines(eps, 100 * low, 100 * high, color=mark.colour, lw=0.6, alpha=0.7)
    axes.set_title(drawable(name, 26), loc="left")
    axes.text(0.97, 0.93, f"K = {shots}", ha="right", transform=axes.transAxes)
    axes.set_xlabel(f"eps, {norm}")
    axes.set_xlim(left=0)
    axes.set_ylim(-2, 102)
