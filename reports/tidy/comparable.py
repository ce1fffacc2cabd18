"""Which rows may be ranked with one another: the same images, attacks and no less evidence.

Nobody's rank depends on a row that is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from reports.archive.trust import differing
from reports.statistics.intervals import Table
from reports.statistics.scores import Over, Tables, union
from reports.tidy.escape import visible
from reports.tidy.rows import ResultRow, Size, is_shared

TrainedKey = tuple[str, str, str]
"""Data set, network and defense."""


class Comparability(NamedTuple):
    """Complete rows that would be ranked together: why each is not, or an empty text.

    A reason is a word or two, a colon, and the whole of it.
    """

    reasons: list[str]
    size: Size | None
    """On which those that are ranked are compared; None where there is none."""


def compared(rows: Sequence[ResultRow], reference: Collection[TrainedKey] = ()) -> Comparability:
    """Judge complete rows of one data set, network, threat and K.

    The norm are the rows of `reference` where there are any, else all. Images and options are
    those of most of them; of two kinds equally frequent the one on more evidence counts, and where
    that is equal too, nobody can say which to rank. A row is short if it has less than the middle
    one in images, episodes or training seeds. A longer one is cut to it.
    """
    sizes = [row.size for row in rows]
    judges = [i for i, row in enumerate(rows) if row.key[:3] in reference]
    reasons = [""] * len(rows)

    def norm() -> list[int]:
        left = [i for i in judges or range(len(rows)) if not reasons[i]]
        return left or [i for i, reason in enumerate(reasons) if not reason]

    def usual(values: Sequence[str]) -> str | None:
        return _usual([(values[i], sizes[i]) for i in norm()])

    queries = [str(next(iter(row.scored.values())).query) for row in rows]
    for i in _unlike(queries, usual(queries), reasons):
        reasons[i] = "other images: not those of the other rows"
    named = {slot.attack for row in rows for slot in row.expected}
    for attack in sorted(filter(is_shared, named)):
        options = [_options(row, attack) for row in rows]
        found = usual(options)
        for i in _unlike(options, found, reasons):
            reasons[i] = _other_options(attack, options[i], found or _another(options, options[i]))
    left = norm()
    if not left:
        return Comparability(reasons, None)
    middle = sorted(sizes[i] for i in left)[len(left) // 2]
    for i, size in enumerate(sizes):
        if not reasons[i] and any(have < need for have, need in zip(size, middle, strict=True)):
            cut = f" ({rows[i].cut})" if rows[i].cut else ""
            reasons[i] = f"short: has {size}{cut}, fewer than the usual {middle}"
    return Comparability(reasons, middle)


def _unlike(values: Sequence[str], usual: str | None, reasons: Sequence[str]) -> list[int]:
    return [i for i, value in enumerate(values) if value != usual and not reasons[i]]


def _usual(found: Sequence[tuple[str, Size]]) -> str | None:
    """The most frequent value, else the one on most evidence; None where that decides nothing."""
    counts = Counter(value for value, _ in found)
    weight: dict[str, tuple[int, Size]] = {
        value: (count, max(size for other, size in found if other == value))
        for value, count in counts.items()
    }
    best = [value for value in weight if weight[value] == max(weight.values())]
    return best[0] if len(best) == 1 else None


def _options(row: ResultRow, attack: str) -> str:
    return str(next(cell.options for slot, cell in row.scored.items() if slot.attack == attack))


def _another(options: Sequence[str], own: str) -> str:
    return next(other for other in options if other != own)


def _other_options(attack: str, own: str, usual: str) -> str:
    return visible(f"other options: {attack} has {differing(own, usual)}", 300)


def counts(attacks: dict[str, Tables], families: dict[str, str], size: Size, over: Over) -> Table:
    """How often each image was right on what is compared: whole numbers (n,).

    Summed over episodes, seeds and, unless `over` is the union of all attacks, over families.
    """
    cut: dict[str, Any] = {
        name: tables.robust[: size.seeds, : size.episodes, : size.n]
        for name, tables in attacks.items()
    }
    groups: dict[str, list[Table]] = {}
    for name, table in cut.items():
        groups.setdefault(families[name] if over == "family mean" else "", []).append(table)
    right = sum(union(group).astype(np.int32) for group in groups.values())
    return np.asarray(np.asarray(right).sum(axis=(0, 1)))
