"""Accuracy against shots as coordinates for an inline SVG: the page draws, this places."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

WIDTH, HEIGHT = 340, 200
LEFT, RIGHT, TOP, BOTTOM = 30, 12, 8, 30
"""Units of the drawing; the margins hold the labels."""
NAMES = ("clean", "static", "robust")


class Bar(NamedTuple):
    """A 95% interval: a vertical line, with its value."""

    x: str
    low: str
    high: str
    at: str


class Curve(NamedTuple):
    """One line: its corners as `x,y x,y`, its intervals, and what it says in words."""

    name: str
    points: str
    bars: tuple[Bar, ...]
    words: str


class Chart(NamedTuple):
    """All of one drawing: curves, and the ticks of both axes as (position, label)."""

    curves: tuple[Curve, ...]
    x_ticks: tuple[tuple[str, str], ...]
    y_ticks: tuple[tuple[str, str], ...]
    width: int = WIDTH
    height: int = HEIGHT


def chart(lines: Mapping[int, Any]) -> Chart | None:
    """From the lines of a row by K, K evenly spaced; None where fewer than two are complete."""
    done = {k: line for k, line in sorted(lines.items()) if not pd.isna(line.robust)}
    if len(done) < 2:
        return None
    width = WIDTH - LEFT - RIGHT
    places = {k: LEFT + width * i / (len(done) - 1) for i, k in enumerate(done)}
    curves = tuple(_curve(name, done, places) for name in NAMES)
    x_ticks = tuple((f"{x:.1f}", str(k)) for k, x in places.items())
    y_ticks = tuple((f"{_y(value / 100):.1f}", str(value)) for value in (0, 25, 50, 75, 100))
    return Chart(curves, x_ticks, y_ticks)


def _curve(name: str, done: Mapping[int, Any], places: Mapping[int, float]) -> Curve:
    values = {k: float(getattr(line, name)) for k, line in done.items()}
    points = " ".join(f"{places[k]:.1f},{_y(value):.1f}" for k, value in values.items())
    words = ", ".join(f"{100 * value:.1f} at K = {k}" for k, value in values.items())
    bars = []
    for k, line in done.items():
        low, high = getattr(line, f"{name}_interval")
        x, at = f"{places[k]:.1f}", f"{_y(values[k]):.1f}"
        bars.append(Bar(x, f"{_y(low):.1f}", f"{_y(high):.1f}", at))
    return Curve(name, points, tuple(bars), f"{name}: {words}")


def _y(share: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - share)
