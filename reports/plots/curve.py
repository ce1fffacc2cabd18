"""Accuracy against one option of an attack: one panel, a line for each series."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.plots.palette import DASHES, SHAPES, Mark, marks
from reports.tidy.escape import drawable

WIDTH, HEIGHT = 3.4, 2.3
"""Inches: one column of print; without the legend."""
FAINT, DOUBT = "#8C8C8C", "#B00020"
WIDE = 20
"""Ratio of the largest to the smallest value from which the axis is logarithmic."""
CROWDED = 0.08
"""Share of the axis that a label needs."""


def curve_figure(
    table: pd.DataFrame, option: str, classes: int | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Figure:  # fmt: skip
    """robust@K at each value with its 95 % interval; clean dashed, chance dotted, doubts ringed.

    Args:
        table: `reports.summary.curve.COLUMNS`, with at least one row.
        option: that of the values.
        classes: of the data.
        names: what defenses are called. Each has its own colour where there are several.
    """
    own = {names.get(name, name): mark for name, mark in marks(table["defense"]).items()}
    table = table.assign(defense=[names.get(name, name) for name in table["defense"]])
    series = _series(table)
    known = _marks(series, own) if len(own) > 1 else marks(series)
    columns = 1 if max(map(len, series)) > 26 else 2
    entries = len(series) + 1 + bool(table["rises"].any())
    figure = Figure(
        figsize=(WIDTH, HEIGHT + 0.15 * math.ceil(entries / columns)), layout="constrained"
    )
    axes = figure.subplots()
    _scale(axes, sorted({*table["value"]}), option)
    for name, part in series.items():
        _draw(axes, part, known[name], name)
    _clean(axes, series, known)
    if classes:
        axes.axhline(100 / classes, color=FAINT, lw=0.9, ls=":", zorder=1)
        axes.annotate(
            "chance", (0.995, 100 / classes), (0, 1.5), xycoords=axes.get_yaxis_transform(),
            textcoords="offset points", ha="right", fontsize=6, color="#6A6A6A",
        )  # fmt: skip
    risen = table[table["rises"]]
    if len(risen):
        axes.plot(
            risen["value"], 100 * risen["robust"], "o", mfc="none", mec=DOUBT, mew=1.1, ms=9,
            ls="", label="not monotone (p < 0.05)", zorder=5, clip_on=False,
        )  # fmt: skip
    axes.set_ylim(-2, 102)
    axes.set_ylabel("correct (%)")
    figure.legend(loc="outside lower center", ncols=columns, fontsize=6.5)
    figure.suptitle(_title(table), x=0.01, ha="left", fontsize=7.5)
    return figure


def _series(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The points of each line, under a name of those parts only in which the lines differ."""
    by = ["defense", "seed", "attack", "adaptation", "shots"]
    differ = [name for name in by if name != "adaptation" and table[name].nunique() > 1]
    adapted = table.loc[table["shots"] > 0, "adaptation"].nunique() > 1
    found: dict[str, pd.DataFrame] = {}
    for key, part in table.groupby(by, sort=False):
        own = dict(zip(by, key, strict=True))
        words = [_word(name, own[name]) for name in differ if name != "shots"]
        words += [str(own["adaptation"])] if adapted and own["shots"] else []
        words += [f"robust@{own['shots']}"] if "shots" in differ or not words else []
        found[drawable(", ".join(words), 48)] = part
    return found


def _marks(series: Mapping[str, pd.DataFrame], own: Mapping[str, Mark]) -> dict[str, Mark]:
    """The colour of the defense; its further lines have other shapes and dashes."""
    found: dict[str, Mark] = {}
    drawn: Counter[str] = Counter()
    for name, part in series.items():
        defense = part.iloc[0].defense
        number, mark = drawn[defense], own[defense]
        shape = SHAPES[(SHAPES.index(mark.shape) + number) % len(SHAPES)]
        dash = DASHES[(DASHES.index(mark.dash) + number) % len(DASHES)]
        found[name] = mark._replace(shape=shape, dash=dash)
        drawn[defense] += 1
    return found


def _word(name: str, value: Any) -> str:
    return f"seed {value}" if name == "seed" else drawable(str(value), 30)


def _title(table: pd.DataFrame) -> str:
    """What all lines have in common."""
    first = table.iloc[0]
    where = f"{first.dataset}, {first.network}; n = {table['n'].min()}; bands: 95%"
    shared = [str(first[name]) for name in ("defense", "attack") if table[name].nunique() == 1]
    return "\n".join(drawable(line, 58) for line in (where, ", ".join(shared)) if line)


def _clean(axes: Axes, series: Mapping[str, pd.DataFrame], known: Mapping[str, Mark]) -> None:
    """A dashed line for each trained model: grey if there is one, else in its first colour."""
    models: dict[tuple[str, int], tuple[float, str]] = {}
    for name, part in series.items():
        first = part.iloc[0]
        models.setdefault((first.defense, first.seed), (first.clean, known[name].colour))
    for value, colour in models.values():
        shown = colour if len(models) > 1 else FAINT
        axes.axhline(100 * value, color=shown, lw=0.9, ls="--", zorder=1)
    axes.plot([], [], color=FAINT, lw=0.9, ls="--", label="clean@0")


def _draw(axes: Axes, part: pd.DataFrame, mark: Mark, label: str) -> None:
    axes.fill_between(
        part["value"], 100 * part["robust_low"], 100 * part["robust_high"], color=mark.colour,
        alpha=0.13, lw=0, zorder=2,
    )  # fmt: skip
    axes.plot(
        part["value"], 100 * part["robust"], marker=mark.shape, color=mark.colour, ls=mark.dash,
        lw=1.2, ms=3.2, label=label, zorder=3, clip_on=False,
    )  # fmt: skip


def _scale(axes: Axes, values: list[float], option: str) -> None:
    """Linear, or logarithmic where the values go over decades; the values are the ticks."""
    positive = [value for value in values if value > 0]
    wide = len(positive) > 1 and positive[-1] / positive[0] >= WIDE and values[0] > 0
    if wide:
        axes.set_xscale("log")
    place = math.log10 if wide else float
    reach = place(values[-1]) - place(values[0]) or 1.0
    kept: list[float] = []
    for value in reversed(values):  # the largest always has its label
        if not kept or place(kept[-1]) - place(value) >= CROWDED * reach:
            kept.append(value)
    axes.xaxis.set_major_locator(FixedLocator(kept))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.set_xlabel(f"{drawable(option, 30)}{', log scale' if wide else ''}")
    axes.margins(x=0.03)
