"""Which rows may be ranked with one another: the same images, attacks and no less evidence.

Nobody's rank depends on a row that is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmark.core.errors import first_few
from reports.archive.trust import differing
from reports.statistics.intervals import Table
from reports.statistics.scores import Over, Tables, union
from reports.tidy.escape import visible
from reports.tidy.rows import ResultRow, Size, is_shared

TrainedKey = tuple[str, str, str]
"""Data set, network and defense."""
NAMED = 4
"""Attacks that a reason names; of the others there is a count."""


class Comparability(NamedTuple):
    """Complete rows that would be ranked together: why each is not, or an empty text.

    A reason is a word or two, a colon, and the whole of it.
    """

    reasons: list[str]
    rows: list[ResultRow]
    """As they are compared: those that are ranked under the same attacks, and what they bring."""
    size: Size | None
    """On which those that are ranked are compared; None where there is none."""


def compared(rows: Sequence[ResultRow], reference: Collection[TrainedKey] = ()) -> Comparability:
    """Judge complete rows of one data set, threat and K, of whatever networks.

    The norm are the rows of `reference` where there are any, else all. Images and options are
    those of most of them; of two kinds equally frequent the one on more evidence counts, and where
    that is equal too, nobody can say which to rank. The attacks are those that more than half of
    them met; a row that met more is compared on these, one that did not meet all is not. A row is
    short if it has less than the middle one in images, episodes or training seeds. A longer one is
    cut to it.
    """
    rows = list(rows)
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
    common = _common([_shared(rows[i]) for i in norm()])
    for i, row in enumerate(rows):
        if len(rows) > 1:  # one that stands alone has nothing to share
            reasons[i] = reasons[i] or _other_attacks(common, _shared(row))
        if not reasons[i] and not _shared(row) <= common:
            rows[i] = row.only(common | (_attacks(row) - _shared(row)))
            sizes[i] = rows[i].size
    for attack in sorted(common):
        options = [_options(row, attack) for row in rows]
        found = usual(options)
        for i in _unlike(options, found, reasons):
            reasons[i] = _other_options(attack, options[i], found or _another(options, options[i]))
    left = norm()
    if not left:
        return Comparability(reasons, rows, None)
    middle = sorted(sizes[i] for i in left)[len(left) // 2]
    for i, size in enumerate(sizes):
        if not reasons[i] and any(have < need for have, need in zip(size, middle, strict=True)):
            cut = f" ({rows[i].cut})" if rows[i].cut else ""
            reasons[i] = f"short: has {size}{cut}, fewer than the usual {middle}"
    return Comparability(reasons, rows, middle)


def _attacks(row: ResultRow) -> set[str]:
    return {slot.attack for slot in row.expected}


def _shared(row: ResultRow) -> set[str]:
    return set(filter(is_shared, _attacks(row)))


def _common(met: Sequence[set[str]]) -> set[str]:
    """The attacks that more than half of the rows met."""
    counts = Counter(attack for one in met for attack in one)
    return {attack for attack, count in counts.items() if 2 * count > len(met)}


def _other_attacks(common: set[str], met: set[str]) -> str:
    """Why a row that met these attacks is not compared with the others; empty if it is."""
    lacking = sorted(common - met)
    if not common:
        return "no common attacks: none was met by most of the rows"
    if not lacking:
        return ""
    named = first_few([visible(name, 40) for name in lacking], NAMED)
    return f"other attacks: has no {named}, which the other rows have"


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
    """Empty where the row did not meet the attack."""
    return str(
        next((cell.options for slot, cell in row.scored.items() if slot.attack == attack), "")
    )


def _another(options: Sequence[str], own: str) -> str:
    return next(other for other in options if other and other != own)


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
