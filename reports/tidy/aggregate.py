"""Over attacks: the worst case, the mean over families, and who is complete enough to be ranked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import pandas as pd

from reports.statistics.intervals import Table
from reports.statistics.scores import QUANTITIES, Over, Tables, aggregate, measure
from reports.tidy.comparable import compared, counts
from reports.tidy.format import adaptations
from reports.tidy.frame import columns
from reports.tidy.rows import Key, ResultRow, result_rows
from reports.tidy.sequences import changes, stages

NUMBERS = (*QUANTITIES, *(f"{name}_interval" for name in QUANTITIES))
COLUMNS = (
    *Key._fields, "scope", "over", "status", "attacks", "families", "seeds", "expected", "scored",
    "skipped", "failed", "missing", "n", "episodes", *NUMBERS, "ruled",
)  # fmt: skip
"""`expected` and the counts after it count cells: attacks x seeds. `ruled`: how many attacks
robust_rule is over, null where there is none."""


class Views(NamedTuple):
    """The tables that summary and plots show, with how each row adapts in words."""

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
    """A line per row, scope and `over` (family mean, union): numbers, counts and rank.

    Columns: COLUMNS (the numbers are null where `status` is not done), then `rank`: by robust@K
    within a data set, network, shots and `over`, of rows that compare (`comparable.compared`).
    Only rows over all attacks are ranked, since the unseen attacks of two defenses need not be the
    same ones.
    """
    scored = [(row, over) for row in result_rows(frame) for over in get_args(Over)]
    table = _table(scored)
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, (row, over) in enumerate(scored):
        if row.scope == "all" and row.complete:
            groups[row.key.dataset, row.key.network, row.key.shots, over].append(index)
    found = pd.Series(pd.NA, index=table.index, dtype="Int64")
    for (*_, over), group in groups.items():
        values = pd.Series(_compared([scored[index][0] for index in group], over), index=group)
        ranked = values.dropna().rank(ascending=False, method="min")
        found.loc[ranked.index] = ranked.astype("Int64")
    return table.assign(rank=found)


def _compared(group: Sequence[ResultRow], over: Over) -> list[float | None]:
    """How often each row was right on what all are compared on; None if it cannot be ranked."""
    reasons, _, size = compared(group)
    return [
        None if reason or size is None
        else float(counts(row.counted(over), row.families, size, over).sum())
        for row, reason in zip(group, reasons, strict=True)
    ]  # fmt: skip


def per_attack(frame: pd.DataFrame) -> pd.DataFrame:
    """A line per row and attack, over the training seeds; `scope` says unseen, seen or unknown.

    Columns: COLUMNS, then attack, family, threat and, from the records, `unseen_by_name`.
    """
    single = [
        (attack, part)
        for row in result_rows(frame)
        if row.scope != "all"
        for attack, part in row.by_attack()
    ]
    places = zip(frame["dataset"], frame["attack"], strict=True)
    threats = dict(zip(places, frame["threat"], strict=True))
    trained = zip(frame["dataset"], frame["network"], frame["defense"], strict=True)
    names = dict(
        zip(zip(trained, frame["attack"], strict=True), frame["unseen_by_name"], strict=True)
    )
    return _table([(part, "union") for _, part in single]).assign(
        attack=[attack for attack, _ in single],
        family=[part.families[attack] for attack, part in single],
        threat=[threats[part.key.dataset, attack] for attack, part in single],
        unseen_by_name=[names.get((part.key[:3], attack), pd.NA) for attack, part in single],
    )


def per_family(frame: pd.DataFrame) -> pd.DataFrame:
    """A line per row and family of attacks: right under all of the family that every row has.

    Columns: COLUMNS, then `family` and `adaptation`.
    """
    parts = []
    for row in result_rows(frame):
        groups: defaultdict[str, set[str]] = defaultdict(set)
        for name in row.counted("family mean") if row.scope == "all" and row.complete else ():
            groups[row.families[name]].add(name)
        parts += [(family, row.only(groups[family])) for family in sorted(groups)]
    table = _table([(part, "union") for _, part in parts])
    return table.assign(family=[family for family, _ in parts], adaptation=adaptations(table))


def _table(scored: list[tuple[ResultRow, Over]]) -> pd.DataFrame:
    entries = [
        {**row.key._asdict(), "scope": row.scope, "over": over, "status": row.status} | _counts(row)
        for row, over in scored
    ]
    several = []
    for entry, (row, over) in zip(entries, scored, strict=True):
        if row.complete and len(row.expected) == 1:
            (cell,) = (row.scored[slot] for slot in row.expected)
            entry.update({name: getattr(cell, name) for name in ("n", *NUMBERS)})
            entry["episodes"] = len(cell.verdicts.static)
        elif row.complete:
            several.append((entry, row, over))
        if row.complete:
            entry["ruled"] = ruled(row.counted(over))
    verdicts = [_aggregate(row, over) for _, row, over in several]
    numbers = measure(verdicts, [row.key.shots > 0 for _, row, _ in several])
    for (entry, *_), found, measured in zip(several, verdicts, numbers, strict=True):
        _, episodes, n = found["static"].shape
        entry.update(columns(measured), n=n, episodes=episodes)
    table = pd.DataFrame(entries, columns=COLUMNS)
    whole = dict.fromkeys(("n", "episodes", "ruled"), "Int64")
    return table.astype(whole | dict.fromkeys(QUANTITIES, "float64"))


def ruled(attacks: Mapping[str, Tables]) -> int | None:
    """How many attacks have verdicts under who knows the rule; None where none has."""
    return sum(tables.rule is not None for tables in attacks.values()) or None


def _aggregate(row: ResultRow, over: Over) -> dict[str, Table]:
    attacks = row.counted(over)
    families = [row.families[attack] for attack in attacks]
    return aggregate(list(attacks.values()), families, over)


def _counts(row: ResultRow) -> dict[str, int]:
    found = Counter(cell.status for cell in row.cells.values())
    attacks = {slot.attack for slot in row.expected}
    return {
        "attacks": len(attacks),
        "families": len({row.families[attack] for attack in attacks}),
        "seeds": len({slot.seed for slot in row.expected}),
        "expected": len(row.expected),
        "scored": len(row.scored),
        "skipped": found["skipped"],
        "failed": found["failed"],
        "missing": len(set(row.expected) - set(row.cells)),
    }
