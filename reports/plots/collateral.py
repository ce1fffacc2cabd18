"""The shown x scored heat map: what adapting to one attack does to accuracy under all others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from reports.tidy.escape import drawable
from reports.tidy.frame import rows
from reports.tidy.rows import by_family

LOSS, GAIN, INK, FAINT = "#B04A00", "#00558A", "#333333", "#AAAAAA"
CELL, ROW = 0.36, 0.2
LETTER = 0.058
"""Inches: width and height of a cell, and what a letter of the 6.5 point labels takes."""
COLOURS = LinearSegmentedColormap.from_list("change", [LOSS, "#F1A66A", "white", "#7DB8DC", GAIN])
"""Orange to blue, which no common colour blindness confuses; white is no change."""
LEAST = 0.1
"""The scale ends no nearer to 0: noise must not look like an effect."""


def collateral_figure(changed: pd.DataFrame) -> Figure:
    """A panel for each defense and adaptation: attacks shown down, attacks scored across.

    From `arrivals.changes` of one data set, network and number of shots, with `adaptation`.
    """
    shown = _ordered(changed, "shown", "family_shown")
    scored = _ordered(changed, "attack", "family")
    panels = list(dict.fromkeys(zip(changed["defense"], changed["adaptation"], strict=True)))
    left = 0.35 + LETTER * max(len(drawable(name, 24)) for name, _ in shown)
    above = 0.26 + LETTER * 0.62 * max(len(drawable(name, 24)) for name, _ in scored)
    size = CELL * len(scored), ROW * (len(shown) + 1) + 0.05
    across = max(1, min(len(panels), int((7.4 - left) / (size[0] + 0.25))))
    down = -(-len(panels) // across)
    width = max(3.3, left + across * (size[0] + 0.25) + 0.35)
    height = 0.25 + down * (above + size[1] + 0.12) + 0.52
    figure = Figure(figsize=(width, height))
    norm = Normalize(-_reach(changed), _reach(changed))
    for number, (defense, adaptation) in enumerate(panels):
        x, y = number % across, number // across
        bottom = height - 0.25 - (y + 1) * (above + size[1] + 0.12) + 0.12
        start = left + x * (size[0] + 0.25)
        box = start / width, bottom / height, size[0] / width, size[1] / height
        axes = figure.add_axes(box)
        mine = changed[(changed["defense"] == defense) & (changed["adaptation"] == adaptation)]
        _draw(axes, mine, [name for name, _ in shown], [name for name, _ in scored], norm)
        _frame(axes, shown, scored, labels=x == 0)
        title = defense if len({one for _, one in panels}) == 1 else f"{defense}: {adaptation}"
        axes.annotate(
            drawable(title, int(size[0] / LETTER)), (0, 1), (0, 72 * (above - 0.22)),
            xycoords="axes fraction", textcoords="offset points", fontweight="bold", fontsize=7.5,
        )  # fmt: skip
    _legend(figure, norm, changed)
    return figure


def _reach(changed: pd.DataFrame) -> float:
    return max(LEAST, float(changed["change"].abs().max()))


def _ordered(changed: pd.DataFrame, name: str, family: str) -> list[tuple[str, str]]:
    found = dict(zip(changed[name], changed[family], strict=True))
    return sorted(found.items(), key=lambda pair: (by_family(pair[1]), pair[0]))


def _draw(
    axes: Axes, mine: pd.DataFrame, shown: list[str], scored: list[str], norm: Normalize
) -> None:
    """The matrix, and under it what the trained model had, which the changes start from."""
    found: dict[tuple[str, str], Any] = {(row.shown, row.attack): row for row in rows(mine)}
    grid = np.full((len(shown), len(scored)), np.nan)
    for y, name in enumerate(shown):
        for x, attack in enumerate(scored):
            row = found.get((name, attack))
            if row is None:
                axes.add_patch(Rectangle((x, y), 1, 1, fc="none", ec=FAINT, hatch="////", lw=0))
                continue
            grid[y, x] = row.change
            clear = row.change_low > 0 or row.change_high < 0
            strong = abs(row.change) > 0.62 * float(norm.vmax or 1)
            axes.text(
                x + 0.5, y + 0.53, _points(row.change), ha="center", va="center",
                fontsize=6.2, color="white" if strong else INK,
                fontweight="bold" if clear else "normal",
            )  # fmt: skip
            if name == attack:
                axes.add_patch(Rectangle((x, y), 1, 1, fc="none", ec=INK, lw=0.9, zorder=3))
    masked = np.ma.masked_invalid(grid)
    axes.pcolormesh(masked, cmap=COLOURS, norm=norm, edgecolors="white", lw=0.8)
    for x, attack in enumerate(scored):
        before = mine.loc[mine["attack"] == attack, "robust_before"]
        if len(before):
            text = f"{100 * before.iloc[0]:.0f}"
            axes.text(x + 0.5, len(shown) + 0.75, text, ha="center", va="center", fontsize=6.2)


def _points(change: float) -> str:
    """`+3`, `-12`, and `0` for what rounds to it."""
    text = f"{100 * change:+.0f}"
    return "0" if text in {"+0", "-0"} else text


def _frame(
    axes: Axes, shown: list[tuple[str, str]], scored: list[tuple[str, str]], labels: bool
) -> None:
    axes.set_xlim(0, len(scored))
    axes.set_ylim(len(shown) + 1.25, 0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=1.5, labelsize=6.5)
    axes.xaxis.tick_top()
    axes.set_xticks(
        np.arange(len(scored)) + 0.35, [drawable(name, 24) for name, _ in scored],
        rotation=40, ha="left", rotation_mode="anchor",
    )  # fmt: skip
    names = [drawable(name, 24) for name, _ in shown] + ["robust@0"]
    places = [*(np.arange(len(shown)) + 0.5), len(shown) + 0.75]
    axes.set_yticks(places, names if labels else [""] * len(names))
    if labels:
        axes.annotate(
            "shown \u2193   scored \u2192", (0, 1), (-4, 4), xycoords="axes fraction", ha="right",
            textcoords="offset points", fontsize=6.2, color="#444444",
        )  # fmt: skip
    for families, draw in ((shown, axes.axhline), (scored, axes.axvline)):
        for place in range(1, len(families)):
            if families[place][1] != families[place - 1][1]:
                draw(place, 0, 1, color="#BBBBBB", lw=0.5)
    axes.axhline(len(shown) + 0.12, color=INK, lw=0.6)


def _legend(figure: Figure, norm: Normalize, changed: pd.DataFrame) -> None:
    width, height = figure.get_size_inches()
    first = changed.iloc[0]
    adaptation = {*changed["adaptation"]}
    more = f"; {adaptation.pop()}" if len(adaptation) == 1 else ""
    title = f"{first.dataset}, {first.network}, K = {first.shots}{more}"
    figure.text(0.08 / width, 1 - 0.15 / height, drawable(title, int(width / LETTER)), fontsize=7.5)
    axes = figure.add_axes((0.2 / width, 0.32 / height, 0.9 / width, 0.08 / height))
    axes.imshow(np.linspace(-1, 1, 101)[None], cmap=COLOURS, aspect="auto")
    reach = 100 * float(norm.vmax or 1)
    axes.set_xticks([0, 50, 100], [f"{-reach:.0f}", "0", f"{reach:+.0f}"], fontsize=6)
    axes.set_yticks([])
    axes.tick_params(length=0, pad=1)
    axes.spines[:].set_visible(False)
    axes.grid(False)
    words = "robust@K - robust@0, points, after the attack of the row was shown; bold: the 95%\n"
    words += "interval leaves out 0; framed: scored attack = shown attack; lines part families"
    figure.text(1.25 / width, 0.36 / height, words, fontsize=6, va="center", color="#444444")
