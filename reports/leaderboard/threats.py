"""The result rows a leaderboard is made of: what each needs, by threat, and what it lacks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmark.core.errors import first_few
from reports.archive.audited import told
from reports.tidy.comparable import TrainedKey
from reports.tidy.escape import visible
from reports.tidy.rows import ResultRow, result_rows

ALL = "all"
"""The threat that is every attack; the others are the norms of the records."""
NAMED = 4
"""Missing attacks that are named; of the others there is a count."""


class ThreatRow(NamedTuple):
    """A result row under one threat: the cells it needs, and which attacks are unseen."""

    row: ResultRow
    threat: str
    unseen: frozenset[str]


def threat_rows(frame: pd.DataFrame, reference: Collection[TrainedKey] = ()) -> Iterator[ThreatRow]:
    """Every row over all attacks and, where there are several norms, over those of each.

    Where a data set has rows of `reference`, an attack that none of them met is asked of nobody: it
    would be a hole in every row but the one that brings it.
    """
    found = result_rows(frame)
    asked: defaultdict[str, set[str]] = defaultdict(set)
    for row in found:
        if row.key[:3] in reference:
            asked[row.key.dataset] |= {slot.attack for slot in row.cells}
    unseen = {
        row.key: frozenset(slot.attack for slot in row.expected)
        for row in found if row.scope == "unseen"
    }  # fmt: skip
    norms = dict(zip(frame["attack"], frame["norm"], strict=True))
    for each in found:
        if each.scope == "all":
            wanted = asked.get(each.key.dataset)
            row = each.only(wanted | {slot.attack for slot in each.cells}) if wanted else each
            by_norm: defaultdict[str, set[str]] = defaultdict(set)
            for slot in (*row.expected, *row.cells):
                by_norm[norms[slot.attack]].add(slot.attack)
            ours = unseen.get(row.key, frozenset())
            yield ThreatRow(row, ALL, ours)
            if len(by_norm) > 1:
                for norm in sorted(by_norm):
                    yield ThreatRow(row.only(by_norm[norm]), norm, ours)


def facts(part: ThreatRow) -> dict[str, Any]:
    """What is known of a row without its verdicts, by column of the board."""
    row = part.row
    names = {slot.attack for slot in row.expected}
    cells = list(row.cells.values())
    return row.key._asdict() | {
        "threat": part.threat, "status": row.status, "missing": missing(row),
        "note": row.cut if row.complete else "",
        "attacks": len(names), "families": len({row.families[name] for name in names}),
        "seeds": len({slot.seed for slot in row.expected}),
        "adaptation_passes": adaptation_passes(row),
        "seconds": sum(cell.seconds for cell in cells),
        "flags": sorted({flag for cell in cells for flag in cell.flags}),
        "audit": told(cell.audit for cell in cells),
        "tied": [],
    }  # fmt: skip


def adaptation_passes(row: ResultRow) -> float | None:
    """What adapting took in an episode, mean over the cells that know it."""
    cells = row.cells.values()
    efforts = [cell.adaptation_passes for cell in cells if not pd.isna(cell.adaptation_passes)]
    return float(np.mean(efforts)) if efforts else None


def missing(row: ResultRow) -> str:
    """What an incomplete row lacks: `2 of 10 cells: cw failed, square not run`; else empty."""
    holes = [slot for slot in row.expected if slot not in row.scored]
    if not holes:
        return "" if row.expected else "no attack could run"
    lacking = {
        slot.attack: row.strangers.get(slot, row.cells[slot].status)
        if slot in row.cells else "not run"
        for slot in holes
    }  # fmt: skip
    named = [f"{visible(name, 40)} {why}" for name, why in sorted(lacking.items())]
    return f"{len(holes)} of {len(row.expected)} cells: {first_few(named, NAMED)}"
