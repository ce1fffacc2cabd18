"""Marks of defenses in plots: colour and shape together, so that neither is needed alone."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import NamedTuple

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F4F24",
    "#5E3C99", "#8C8C8C",
)  # fmt: skip
"""After Okabe & Ito 2008, without the yellow that paper swallows; then brown, violet and grey."""
SHAPES = "osD^vPX"
DASHES = ("-", "--", "-.", ":")
OWN = (
    "pgd_at", "standard", "trades", "meta_adv", "multi_at", "e_at", "fgsm_rs", "free",
)  # fmt: skip
"""Defenses of the project, each with a place in COLOURS that is its own in every figure."""


class Mark(NamedTuple):
    """How one series is drawn."""

    colour: str
    shape: str
    dash: str


def marks(names: Iterable[str]) -> dict[str, Mark]:
    """A mark for each name, as in records; unlike for the first 40.

    The first variant of one of OWN has its place; the others take those that are left, in order.

    >>> [mark.colour for mark in marks(["mine", "trades[epochs=8]", "pgd_at"]).values()]
    ['#D55E00', '#009E73', '#0072B2']
    """
    names, places = list(dict.fromkeys(names)), dict[str, int]()
    for name in names:
        kind = name.partition("[")[0]
        if kind in OWN and OWN.index(kind) not in places.values():
            places[name] = OWN.index(kind)
    taken = {*places.values()}
    left = (i for i in count() if i not in taken)
    return {name: _mark(places[name] if name in places else next(left)) for name in names}


def _mark(i: int) -> Mark:
    row = i // len(COLOURS)
    return Mark(
        COLOURS[i % len(COLOURS)], SHAPES[(i + row) % len(SHAPES)], DASHES[row % len(DASHES)]
    )
