"""The tree of attacks by how alike they are, cut into clusters of near-duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from reports.plots.palette import COLOURS
from reports.tidy.escape import drawable

WIDTH, ROW = 3.4, 0.125
"""Inches: of one column of print, and of an attack."""
INK, FAINT = "#333333", "#8C8C8C"
LEAF = 10.0
"""What scipy puts between two leaves."""


def dendrogram_figure(
    joined: NDArray[Any], names: Sequence[str], labels: Sequence[str], threshold: float, about: str
) -> Figure:
    """Attacks down, similarity across; clusters of more than one in a colour, the cut dashed.

    Args:
        joined: average linkage of 1 - similarity, as `scipy.cluster.hierarchy.linkage` has it.
        names: of the attacks.
        labels: of each, the attack that its cluster is named after, which is set in bold.
        threshold: similarity at which the tree is cut.
        about: of which data, models and images it is.
    """
    from scipy.cluster.hierarchy import dendrogram

    drawn = dendrogram(joined, no_plot=True)
    order = [int(leaf) for leaf in drawn["leaves"]]
    figure = Figure(figsize=(WIDTH, 0.75 + ROW * len(names)), layout="constrained")
    axes = figure.subplots()
    shared = [name for name, count in Counter(labels[leaf] for leaf in order).items() if count > 1]
    colours = {name: COLOURS[place % (len(COLOURS) - 1)] for place, name in enumerate(shared)}
    for across, down in zip(drawn["dcoord"], drawn["icoord"], strict=True):
        leaf = order[round(min(down) / LEAF - 0.5)]
        inside = across[1] <= 1 - threshold + 1e-9
        colour = colours.get(labels[leaf], FAINT) if inside else FAINT
        axes.plot(1 - np.array(across), down, color=colour, lw=1.1 if inside else 0.8, zorder=2,
                  clip_on=False)  # fmt: skip
    axes.axvline(threshold, color=INK, lw=0.7, ls="--", zorder=1)
    _frame(axes, order, names, labels, colours)
    figure.suptitle("\n".join(map(drawable, about.split("; "))), x=0.01, ha="left", fontsize=7.5)
    axes.set_xlabel(f"similarity; dashed: duplicates from {threshold:g} on")
    return figure


def _frame(
    axes: Axes, order: Sequence[int], names: Sequence[str], labels: Sequence[str],
    colours: dict[str, str],
) -> None:  # fmt: skip
    axes.yaxis.tick_right()
    axes.tick_params(axis="y", length=0, pad=4)
    places = [LEAF * (place + 0.5) for place in range(len(order))]
    axes.set_yticks(places, [drawable(names[leaf], 34) for leaf in order], fontsize=6.5)
    for place, text, leaf in zip(places, axes.get_yticklabels(), order, strict=True):
        if labels[leaf] in colours:
            colour = colours[labels[leaf]]
            text.set_color(colour)
            text.set_fontweight("bold" if labels[leaf] == names[leaf] else "normal")
            axes.plot(1, place, "o", color=colour, ms=2.4, clip_on=False, zorder=3)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(LEAF * len(order), 0)
    axes.set_xlim(min(0.0, axes.get_xlim()[0]), 1)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
