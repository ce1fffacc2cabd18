"""Marks of defenses in plots: colour and shape together, so that neither is needed alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F4F24",
    "#5E3C99", "#8C8C8C",
)  # fmt: skip
"""After Okabe & Ito 2008, without the yellow that paper swallows; then brown, violet and grey."""
SHAPES = "osD^vPX"
DASHES = ("-", "--", "-.", ":")


class Mark(NamedTuple):
    """How one series is drawn."""

    colour: str
    shape: str
    dash: str


def marks(names: Iterable[str]) -> dict[str, Mark]:
    """A mark for each name, in order; unlike for the first 40."""
    return {
        name: Mark(
            COLOURS[i % len(COLOURS)],
            SHAPES[(i + i // len(COLOURS)) % len(SHAPES)],
            DASHES[i // len(COLOURS) % len(DASHES)],
        )
        for i, name in enumerate(dict.fromkeys(names))
    }
