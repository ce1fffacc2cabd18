"""Over attacks: the worst case, the mean over families, and who is complete enough to be ranked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

import pandas as pd

from reports.frame import columns
from reports.intervals import Table
from reports.lines import Key, Line, lines
from reports.scores import QUANTITIES, Over, aggregate, measure

COLUMNS = (
    *Key._fields, "scope", "over", "status", "attacks", "families", "seeds", "expected", "scored",
    "skipped", "failed", "missing", "n", "episodes", *QUANTITIES,
    *(f"{name}_interval" for name in QUANTITIES),
)  # fmt: skip
"""`expected` and the counts after it count cells: attacks x seeds."""


def headline(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per line, scope and `over` (family mean, union): numbers, counts and rank.

    Columns: COLUMNS (the numbers are null where `status` is not done), then `rank`: by robust@K
    within a data set, network, shots and `over`. Only lines over all attacks are ranked, since the
    unseen attacks of two defenses need not be the same ones.
    """
    scored: list[tuple[Line, Over]] = [
        (line, over) for line in lines(frame) for over in get_args(Over)
    ]
    table = _table(scored)
    ranked = table[table["scope"] == "all"].groupby(["dataset", "network", "shots", "over"])
    rank = ranked["robust"].rank(ascending=False, method="min")
    return table.assign(rank=rank.reindex(table.index).astype("Int64"))


def per_attack(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per line and attack, over the training seeds; `scope` says unseen, seen or unknown.

    Columns as in `headline`, with attack, family and threat, without rank.
    """
    single = [
        (attack, part)
        for line in lines(frame)
        if line.scope != "all"
        for attack, part in line.by_attack()
    ]
    threats = dict(zip(frame["attack"], frame["threat"], strict=True))
    names = [attack for attack, _ in single]
    return _table([(part, "union") for _, part in single]).assign(
        attack=names,
        family=[part.families[attack] for attack, part in single],
        threat=[threats[attack] for attack in names],
    )


def _table(scored: Sequence[tuple[Line, Over]]) -> pd.DataFrame:
    """Entries of many lines; intervals are computed together, which is what makes it fast."""
    complete = [(line, over) for line, over in scored if line.complete]
    rows = [_aggregate(line, over) for line, over in complete]
    shapes = iter([row["static"].shape for row in rows])
    numbers = iter(measure(rows, [line.key.shots > 0 for line, _ in complete]))
    entries = []
    for line, over in scored:
        entry = {**line.key._asdict(), "scope": line.scope, "over": over, "status": line.status}
        if line.complete:
            _, episodes, n = next(shapes)
            entry |= columns(next(numbers)) | {"n": n, "episodes": episodes}
        entries.append(entry | _counts(line))
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
