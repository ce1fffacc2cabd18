"""The lines a leaderboard is made of: what each needs, by threat, and what it lacks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.tidy.lines import Line, lines
from reports.tidy.text import visible

ALL = "all"
"""The threat that is every attack; the others are the norms of the records."""
NAMED = 4
"""Missing attacks that are named; of the others there is a count."""


class Part(NamedTuple):
    """A line under one threat: the cells it needs, and which attacks are unseen."""

    line: Line
    threat: str
    unseen: frozenset[str]


def parts(frame: pd.DataFrame) -> Iterator[Part]:
    """Every line over all attacks and, where there are several norms, over those of each."""
    found = lines(frame)
    unseen = {
        line.key: frozenset(place.attack for place in line.expected)
        for line in found if line.scope == "unseen"
    }  # fmt: skip
    norms = dict(zip(frame["attack"], frame["norm"], strict=True))
    for line in found:
        if line.scope == "all":
            by_norm: defaultdict[str, set[str]] = defaultdict(set)
            for place in (*line.expected, *line.cells):
                by_norm[norms[place.attack]].add(place.attack)
            ours = unseen.get(line.key, frozenset())
            yield Part(line, ALL, ours)
            if len(by_norm) > 1:
                for norm in sorted(by_norm):
                    yield Part(line.only(by_norm[norm]), norm, ours)


def facts(part: Part) -> dict[str, Any]:
    """What is known of a line without its verdicts, by column of the board."""
    line = part.line
    names = {place.attack for place in line.expected}
    cells = list(line.cells.values())
    return line.key._asdict() | {
        "threat": part.threat, "status": line.status, "missing": missing(line),
        "note": line.cut if line.complete else "",
        "attacks": len(names), "families": len({line.families[name] for name in names}),
        "seeds": len({place.seed for place in line.expected}),
        "adaptation_passes": adaptation_passes(line),
        "seconds": sum(cell.seconds for cell in cells),
        "flags": sorted({flag for cell in cells for flag in cell.flags}),
        "tied": [],
    }  # fmt: skip


def adaptation_passes(line: Line) -> float | None:
    """What adapting took in an episode, mean over the cells that know it."""
    cells = line.cells.values()
    efforts = [cell.adaptation_passes for cell in cells if not pd.isna(cell.adaptation_passes)]
    return float(np.mean(efforts)) if efforts else None


def missing(line: Line) -> str:
    """What an incomplete line lacks: `2 of 10 cells: cw failed, square not run`; else empty."""
    holes = [place for place in line.expected if place not in line.scored]
    if not holes:
        return "" if line.expected else "no attack could run"
    lacking = {
        place.attack: line.strangers.get(place, line.cells[place].status)
        if place in line.cells else "not run"
        for place in holes
    }  # fmt: skip
    named = [f"{visible(name, 40)} {why}" for name, why in sorted(lacking.items())]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return f"{len(holes)} of {len(line.expected)} cells: {', '.join(named[:NAMED])}{more}"
