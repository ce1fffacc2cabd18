"""Differences between two results, attack by attack, as dots with 95% intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from benchmark.results.store import slug
from reports.comparison.console import CERTAIN
from reports.comparison.table import CLEAN, EITHER, Comparison
from reports.plots.write import save, styled
from reports.tidy.escape import drawable
from reports.tidy.frame import rows

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#56B4E9")
"""After Okabe & Ito 2008; marks differ too, so that the figure survives a grey print."""
MARKS = "osD^vP"
WIDTH = 3.4
"""Inches: one column of a paper."""
LINE, APART, TALLEST = 0.155, 0.085, 7.5
"""Inches of a row with one dot, of each further dot in it, and of all rows: closer if need be."""
SERIES = ["shots", "method", "knowledge", "steps", "lr"]


def write_figures(
    found: Comparison, out: Path, names: Mapping[str, str] = MappingProxyType({})
) -> list[Path]:
    """Write `comparison-...`, PNG and SVG, for each data set, network (, defense) and seed.

    `names` are what defenses are called, where two of them are compared and not two folders.
    """
    folders = (found.table["defense"] != EITHER).any()
    a, b = (name if folders else names.get(name, name) for name in (found.a, found.b))
    written: list[Path] = []
    with styled():
        for key, part in found.table.groupby(["dataset", "network", "defense", "seed"]):
            name = "-".join(slug(str(word)) for word in key if word != EITHER)
            written += save(comparison_figure(part, a, b), out / f"comparison-{name}")
    return written


def comparison_figure(part: pd.DataFrame, a: str, b: str) -> Figure:
    """A row for each attack, a dot for each budget; full dots differ from 0 (p < 0.05, Holm).

    Cells in which other attacks were shown than scored are left to the table, if there are others.
    """
    part = part[part["shown"] == ""] if (part["shown"] == "").any() else part
    series = sorted({_series(row) for row in rows(part) if row.attack != CLEAN})
    labels = list(dict.fromkeys(_label(row) for row in rows(part)))
    row_height = min(LINE + APART * (max(1, len(series)) - 1), TALLEST / len(labels))
    below = 0.14 * (len(series) + 2)
    figure = Figure(figsize=(WIDTH, 0.85 + row_height * len(labels) + below), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color="#444444", lw=0.8)
    _draw(axes, part, series, labels, min(APART / row_height, 0.8 / max(1, len(series))))
    size = 6.5 if row_height >= LINE else 46 * max(row_height, 0.08)
    axes.set_yticks(range(len(labels)), [drawable(label, 24) for label in labels], fontsize=size)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("difference (points)")
    first = part.iloc[0]
    where = drawable(f"{first.dataset}, {first.network}, seed {first.seed}", 50)
    figure.suptitle(
        f"{where}\n{drawable(b, 24)} minus {drawable(a, 24)}", x=0.02, ha="left", fontsize=7.5
    )
    figure.legend(loc="outside lower center", fontsize=6.5)
    return figure


def _draw(
    axes: Axes, part: pd.DataFrame, series: list[tuple[Any, ...]], labels: list[str], apart: float
) -> None:
    dot = 3.4 if len(labels) * LINE < TALLEST / 2 else 2.4
    told: dict[tuple[Any, ...], tuple[str, str]] = {}
    for row in rows(part):
        clean = row.attack == CLEAN
        number = 0 if clean else series.index(_series(row))
        colour = "#555555" if clean else COLOURS[number % len(COLOURS)]
        mark = "X" if clean else MARKS[number % len(MARKS)]
        shift = 0.0 if clean else (number - (len(series) - 1) / 2) * apart
        y = labels.index(_label(row)) + shift
        fill = colour if row.p_holm < CERTAIN else "white"
        axes.plot([row.points_low, row.points_high], [y, y], color=colour, lw=0.9)
        axes.plot([row.points], [y], mark, color=colour, ms=dot, mew=0.8, mfc=fill)
        told[() if clean else _series(row)] = (mark, colour)
    for key, (mark, colour) in sorted(told.items()):
        axes.plot([], [], mark, color=colour, ms=3.4, label=_budget(key, series))
    axes.plot([], [], "o", color="#555555", mfc="white", ms=3.4, mew=0.8,
              label=f"hollow: p > {CERTAIN:g} (exact, paired, Holm)")  # fmt: skip


def _series(row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in SERIES) if row.shots else (0,)


def _budget(key: tuple[Any, ...], series: list[tuple[Any, ...]]) -> str:
    """In words; steps and rate only if they tell budgets apart."""
    if len(key) < len(SERIES):
        return "K = 0" if key else "clean accuracy"
    shots, method, knowledge, steps, lr = key
    alone = sum(other[:3] == key[:3] for other in series) == 1
    return f"K = {shots}, {method}, {knowledge}{'' if alone else f', {steps} steps, lr {lr:g}'}"


def _label(row: Any) -> str:
    return str(row.attack) + (f" after {row.shown}" if row.shown else "")
