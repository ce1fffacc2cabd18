"""Over attacks: the worst case, the mean over families, and who is complete enough to be ranked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import pandas as pd

from reports.statistics.intervals import Table
from reports.statistics.scores import QUANTITIES, Over, aggregate, measure
from reports.tidy.comparable import compared, counts
from reports.tidy.frame import columns
from reports.tidy.lines import Key, Line, lines
from reports.tidy.sequences import changes, stages
from reports.tidy.text import adaptations

NUMBERS = (*QUANTITIES, *(f"{name}_interval" for name in QUANTITIES))
COLUMNS = (
    *Key._fields, "scope", "over", "status", "attacks", "families", "seeds", "expected", "scored",
    "skipped", "failed", "missing", "n", "episodes", *NUMBERS,
)  # fmt: skip
"""`expected` and the counts after it count cells: attacks x seeds."""


class Views(NamedTuple):
    """The tables that summary and plots show, with how each line adapts in words."""

    head: pd.DataFrame
    attacks: pd.DataFrame
    changed: pd.DataFrame
    staged: pd.DataFrame


def views(frame: pd.DataFrame) -> Views:
    """`headline` and `per_attack` of a tidy frame, and `changes` and `stages` of sequences.

    Each with a column `adaptation`.
    """
    tables = headline(frame), per_attack(frame), changes(frame), stages(frame)
    return Views(*(table.assign(adaptation=adaptations(table)) for table in tables))


def headline(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per line, scope and `over` (family mean, union): numbers, counts and rank.

    Columns: COLUMNS (the numbers are null where `status` is not done), then `rank`: by robust@K
    within a data set, network, shots and `over`, of lines that compare (`comparable.compared`).
    Only lines over all attacks are ranked, since the unseen attacks of two defenses need not be the
    same ones.
    """
    scored = [(line, over) for line in lines(frame) for over in get_args(Over)]
    table = _table(scored)
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, (line, over) in enumerate(scored):
        if line.scope == "all" and line.complete:
            groups[line.key.dataset, line.key.network, line.key.shots, over].append(index)
    found = pd.Series(pd.NA, index=table.index, dtype="Int64")
    for (*_, over), group in groups.items():
        values = pd.Series(_compared([scored[index][0] for index in group], over), index=group)
        ranked = values.dropna().rank(ascending=False, method="min")
        found.loc[ranked.index] = ranked.astype("Int64")
    return table.assign(rank=found)


def _compared(group: Sequence[Line], over: Over) -> list[float | None]:
    """How often each line was right on what all are compared on; None if it cannot be ranked."""
    reasons, size = compared(group)
    return [
        None if reason or size is None
        else float(counts(line.attacks(), line.families, size, over).sum())
        for line, reason in zip(group, reasons, strict=True)
    ]  # fmt: skip


def per_attack(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per line and attack, over the training seeds; `scope` says unseen, seen or unknown.

    Columns: COLUMNS, then attack, family and threat.
    """
    single = [
        (attack, part)
        for line in lines(frame)
        if line.scope != "all"
        for attack, part in line.by_attack()
    ]
    places = zip(frame["dataset"], frame["attack"], strict=True)
    threats = dict(zip(places, frame["threat"], strict=True))
    return _table([(part, "union") for _, part in single]).assign(
        attack=[attack for attack, _ in single],
        family=[part.families[attack] for attack, part in single],
        threat=[threats[part.key.dataset, attack] for attack, part in single],
    )


def _table(scored: list[tuple[Line, Over]]) -> pd.DataFrame:
    entries = [
        {**line.key._asdict(), "scope": line.scope, "over": over, "status": line.status}
        | _counts(line)
        for line, over in scored
    ]
    several = []
    for entry, (line, over) in zip(entries, scored, strict=True):
        if line.complete and len(line.expected) == 1:
            (cell,) = (line.scored[place] for place in line.expected)
            entry.update({name: getattr(cell, name) for name in ("n", *NUMBERS)})
            entry["episodes"] = len(cell.verdicts.static)
        elif line.complete:
            several.append((entry, line, over))
    rows = [_aggregate(line, over) for _, line, over in several]
    numbers = measure(rows, [line.key.shots > 0 for _, line, _ in several])
    for (entry, *_), row, measured in zip(several, rows, numbers, strict=True):
        _, episodes, n = row["static"].shape
        entry.update(columns(measured), n=n, episodes=episodes)
    table = pd.DataFrame(entries, columns=COLUMNS)
    whole = dict.fromkeys(("n", "episodes"), "Int64")
    return table.astype(whole | dict.fromkeys(QUANTITIES, "float64"))


def _aggregate(line: Line, over: Over) -> dict[str, Table]:
    attacks = line.attacks()
    families = [line.families[attack] for attack in attacks]
    return aggregate(list(attacks.values()), families, over)


def _counts(line: Line) -> dict[str, int]:
    found = Counter(cell.status for cell in line.cells.values())
    attacks = {place.attack for place in line.expected}
    return {
        "attacks": len(attacks),
        "families": len({line.families[attack] for attack in attacks}),
        "seeds": len({place.seed for place in line.expected}),
        "expected": len(line.expected),
        "scored": len(line.scored),
        "skipped": found["skipped"],
        "failed": found["failed"],
        "missing": len(set(line.expected) - set(line.cells)),
    }
