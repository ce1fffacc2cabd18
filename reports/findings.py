"""What looks wrong in a table of results: each finding is a reason to doubt a number."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.frame import rows
from reports.intervals import Table, interval
from reports.lines import Key, Line, lines
from reports.scores import Tables, common_prefix, union

WHITE_BOX = frozenset({"linf-gradient", "l2-gradient", "l1-gradient"})
BLACK_BOX = frozenset({"score-based", "decision-based", "noise", "transfer"})

MASKING = 0.002
"""AutoAttack's tolerance (Croce & Hein 2020, checks.py): 0.2 points."""
INFLATION = 0.02
"""Static scoring in the literature overstates by 4.8 to 32.9 points (Croce et al. 2022)."""


class Finding(NamedTuple):
    """Something to look at: `kind` is masking, inflation, flag or unpaired."""

    kind: str
    where: str
    message: str


def warnings(frame: pd.DataFrame) -> list[Finding]:
    """All findings about a tidy frame, the most serious kind first."""
    whole = [line for line in lines(frame) if line.scope == "all"]
    masking = [finding for line in whole for finding in _masking(line)]
    unpaired = [finding for line in whole for finding in _unpaired(line)]
    inflated = [finding for line in whole for finding in _inflation(line)]
    return [*masking, *_flags(frame), *unpaired, *inflated]


def where(key: Key) -> str:
    """The line in words, e.g. `digits, small_cnn, meta_adv, 5 shots, finetune, captured`."""
    budget = (f"{key.shots} shots", key.method, key.knowledge) if key.shots else ("0 shots",)
    return ", ".join((key.dataset, key.network, key.defense, *budget))


def _masking(line: Line) -> Iterator[Finding]:
    """Gradient-free attacks must not beat the worst of the gradient attacks on the same threat.

    If they do, the gradients mislead (Athalye et al. 2018) or the gradient attacks are too weak.
    The verdicts are paired: the lower end of the interval of the difference must exceed MASKING.
    """
    groups: defaultdict[tuple[str, int, bool], dict[str, Tables]] = defaultdict(dict)
    for place, cell in line.scored.items():
        if cell.family in WHITE_BOX | BLACK_BOX:
            group = groups[cell.threat, place.seed, cell.family in WHITE_BOX]
            group[place.attack] = cell.verdicts
    for (threat, seed, white), free in groups.items():
        gradient = groups.get((threat, seed, True), {})
        if white or not gradient:
            continue
        for name, tables in free.items():
            lead = _lead([tables, *gradient.values()])
            if lead.mean() > MASKING and interval(lead, signed=True).low > MASKING:
                yield Finding(
                    "masking",
                    f"{where(line.key)}, seed {seed}",
                    f"{name} needs no gradient and breaks {100 * lead.mean():.1f} points more than "
                    f"the worst of {', '.join(sorted(gradient))} at {threat}: the gradients are "
                    "masked, or those attacks are too weak",
                )


def _lead(cells: Sequence[Tables]) -> Table:
    first, *others = (cell.robust.astype(np.int8) for cell in common_prefix(cells))
    lead: Table = union(others).astype(np.int8) - first
    return lead


def _inflation(line: Line) -> Iterator[Finding]:
    cells = list(line.scored.values())
    inflated = [cell for cell in cells if cell.inflation > INFLATION]
    if inflated:
        worst = max(inflated, key=lambda cell: float(cell.inflation))
        yield Finding(
            "inflation",
            where(line.key),
            f"static scoring overstates {len(inflated)} of {len(cells)} cells by more than "
            f"{100 * INFLATION:g} points, up to {100 * worst.inflation:.1f} ({worst.attack})",
        )


def _unpaired(line: Line) -> Iterator[Finding]:
    done = sum(cell.status == "done" for cell in line.cells.values())
    if done > len(line.scored):
        yield Finding(
            "unpaired",
            where(line.key),
            f"{done - len(line.scored)} of {done} cells were scored on other images than the rest: "
            "they count as missing; run them again",
        )


def _flags(frame: pd.DataFrame) -> list[Finding]:
    """The audit flags of the records, each once per trained model, with how many cells carry it."""
    found: Counter[tuple[Any, ...]] = Counter()
    example: dict[tuple[Any, ...], str] = {}
    for cell in rows(frame):
        for flag in cell.flags:
            key = (cell.dataset, cell.network, cell.defense, flag)
            found[key] += 1
            example.setdefault(key, cell.attack)
    return [
        Finding("flag", ", ".join(key[:3]), f"{key[3]} ({count} cells, e.g. {example[key]})")
        for key, count in found.items()
    ]
