"""What looks wrong in a table of results: each finding is a reason to doubt a number."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.statistics.intervals import interval
from reports.statistics.scores import Tables, common_prefix, union
from reports.tidy.comparable import compared
from reports.tidy.escape import visible
from reports.tidy.frame import rows
from reports.tidy.rows import Key, ResultRow, evidence, key_of, result_rows

WHITE_BOX = frozenset({"linf-gradient", "l2-gradient", "l1-gradient"})
BLACK_BOX = frozenset({"score-based", "decision-based", "noise", "transfer"})

MASKING = 0.002
"""AutoAttack's tolerance (Croce & Hein 2020, checks.py): 0.2 points."""
FELL = 0.5
"""Share of episodes in which adapting should at least lower the loss on what it was shown."""
INFLATION = 0.02
"""Static scoring in the literature overstates by 4.8 to 32.9 points (Croce et al. 2022)."""


class Finding(NamedTuple):
    """Something to look at; each function below makes one `kind`."""

    kind: str
    where: str
    message: str


def warnings(frame: pd.DataFrame) -> list[Finding]:
    """All findings about a tidy frame, the most serious kind first."""
    whole = [row for row in result_rows(frame) if row.scope == "all"]
    unpaired = [finding for row in whole for finding in _unpaired(row)]
    inflated = [finding for row in whole for finding in _inflation(row)]
    unlearnt = [finding for row in whole for finding in _adaptation(row)]
    cut = [finding for row in whole for finding in _cut(row)]
    doubted = [*_masking(whole), *_flags(frame), *_models(frame), *unpaired, *_unranked(whole)]
    return [*doubted, *cut, *unlearnt, *inflated]


def where(key: Key) -> str:
    """The row in words, e.g. `digits, small_cnn, meta_adv, 5 shots, finetune, captured`."""
    budget = (f"{key.shots} shots", key.method, key.knowledge) if key.shots else ("0 shots",)
    return ", ".join((*(visible(name) for name in key[:3]), *budget))


def _masking(whole: Sequence[ResultRow]) -> Iterator[Finding]:
    """Gradient-free attacks must not beat the worst of the gradient attacks on the same threat.

    If they do, the gradients mislead (Athalye et al. 2018) or the gradient attacks are too weak.
    Only the trained model is judged: adapted ones differ from attack to attack. The verdicts are
    paired, and the lower end of the interval of their difference must exceed MASKING.
    """
    groups: defaultdict[tuple[str, ...], dict[str, Tables]] = defaultdict(dict)
    for row in whole:
        for slot, cell in row.scored.items():
            if cell.family in WHITE_BOX | BLACK_BOX:
                kind = "white" if cell.family in WHITE_BOX else "black"
                key = (kind, cell.query, cell.threat, *row.key[:3], f"seed {slot.seed}")
                groups[key].setdefault(slot.attack, cell.verdicts)
    for (kind, query, threat, *trained), black in groups.items():
        white = groups.get(("white", query, threat, *trained))
        if kind == "black" and white:
            model = ", ".join(visible(name) for name in trained)
            for name, tables in black.items():
                yield from _compare(model, threat, name, tables, white)


def _compare(
    model: str, threat: str, name: str, tables: Tables, white: dict[str, Tables]
) -> Iterator[Finding]:
    first, *others = (cell.before for cell in common_prefix([tables, *white.values()]))
    lead = union(others).astype(np.int8) - first
    if lead.mean() > MASKING and interval(lead, signed=True).low > MASKING:
        yield Finding(
            "masking",
            model,
            f"{visible(name)} needs no gradient and breaks {100 * lead.mean():.1f} points more "
            f"than the worst of {', '.join(visible(other) for other in sorted(white))} at "
            f"{visible(threat)}: the gradients are masked, or those attacks are too weak",
        )


def _inflation(row: ResultRow) -> Iterator[Finding]:
    cells = list(row.scored.values())
    inflated = [cell for cell in cells if cell.inflation > INFLATION]
    if inflated:
        worst = max(inflated, key=lambda cell: float(cell.inflation))
        yield Finding(
            "inflation",
            where(row.key),
            f"static scoring overstates {len(inflated)} of {len(cells)} cells by more than "
            f"{100 * INFLATION:g} points, up to {100 * worst.inflation:.1f} "
            f"({visible(worst.attack)})",
        )


def _adaptation(row: ResultRow) -> Iterator[Finding]:
    """An inner loop that does not lower the loss it descends has the wrong steps."""
    cells = list(row.scored.values())
    risen = [cell for cell in cells if cell.loss_fell < FELL]  # not known: not below
    if risen:
        yield Finding(
            "adaptation",
            where(row.key),
            f"the loss on the shown examples fell in less than {FELL:.0%} of the episodes of "
            f"{len(risen)} of {len(cells)} cells (e.g. {visible(risen[0].attack)}): "
            "its steps or learning rate do not fit",
        )


def _unpaired(row: ResultRow) -> Iterator[Finding]:
    done = sum(cell.status == "done" for cell in row.cells.values())
    for why, count in Counter(row.strangers.values()).items():
        yield Finding(
            "unpaired",
            where(row.key),
            f"{count} of {done} cells were {why} than the rest: "
            "they count as missing; run them again",
        )


def _models(frame: pd.DataFrame) -> Iterator[Finding]:
    """One name and training seed, several models: K = 0 may be of one and K = 10 of another."""
    done = sorted(rows(frame[frame["status"] == "done"]), key=evidence)
    counted = {(key_of(cell), cell.seed, cell.attack, cell.shown): cell for cell in done}
    found: defaultdict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for (key, seed, attack, _), cell in counted.items():
        names = (*(visible(name) for name in key[:3]), f"seed {seed}")
        found[names].setdefault(cell.weights, visible(attack))
    for names, models in found.items():
        if len(models) > 1:
            yield Finding(
                "models",
                ", ".join(names),
                f"{len(models)} models under one name, e.g. in the cells of "
                f"{' and '.join([*models.values()][:2])}: numbers of different models stand beside "
                "each other; run the cells again",
            )


def _cut(row: ResultRow) -> Iterator[Finding]:
    if row.complete and row.cut:
        yield Finding("cut", where(row.key), row.cut)


def _unranked(whole: Sequence[ResultRow]) -> Iterator[Finding]:
    groups: defaultdict[tuple[Any, ...], list[ResultRow]] = defaultdict(list)
    for row in whole:
        if row.complete:
            groups[row.key.dataset, row.key.network, row.key.shots].append(row)
    for group in groups.values():
        for row, reason in zip(group, compared(group).reasons, strict=True):
            if reason:
                yield Finding("unranked", where(row.key), reason)


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
        Finding(
            "flag",
            ", ".join(visible(name) for name in key[:3]),
            f"{visible(key[3], 160)} ({count} cells, e.g. {visible(example[key])})",
        )
        for key, count in found.items()
    ]
