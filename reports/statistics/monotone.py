"""Whether accuracy falls as an attack gets more of something: eps, steps, restarts, queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reports.statistics.intervals import Table
from reports.statistics.paired import Change, change

NOISE = 0.05
"""p of the exact paired test below which a rise is more than noise."""


class Rise(NamedTuple):
    """More images stand at one strength than at a smaller one."""

    place: int
    """Of the larger strength; `before` is that of the smaller."""
    before: int
    change: Change


def rises(tables: Sequence[Table], level: float = NOISE) -> list[Rise]:
    """Where accuracy rises beyond the paired noise, at most once a strength.

    Each strength is compared with the smaller one that left the fewest images standing: whoever may
    do more may also do what broke them. McNemar's exact test on the same images (with several
    episodes, what `paired` makes of it), two-sided, not corrected for the number of strengths.

    Args:
        tables: verdicts, bool (episodes, n), by growing strength, all of the same images.
        level: of p.
    """
    found, lowest = [], 0
    for place, table in enumerate(tables):
        made = change(tables[lowest], table)
        if made.won > made.lost and made.p < level:
            found.append(Rise(place, lowest, made))
        if table.sum() < tables[lowest].sum():
            lowest = place
    return found
