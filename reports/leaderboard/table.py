"""The leaderboard as one tidy table: a line per row, threat and K, with ranks where rows compare.

A row is a defense on a data set and network, with one way to adapt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from reports.leaderboard.threats import ALL, ThreatRow, adaptation_passes, facts, threat_rows
from reports.statistics.intervals import Table, intervals
from reports.statistics.ranking import ranks, separated
from reports.statistics.scores import QUANTITIES, Measured, Tables, aggregate, measure, union
from reports.tidy.aggregate import NUMBERS, ruled
from reports.tidy.comparable import TrainedKey, compared, counts
from reports.tidy.escape import visible
from reports.tidy.frame import columns
from reports.tidy.rows import Key, ResultRow, Size, result_rows
from reports.tidy.sequences import changes, collateral
from reports.tidy.training_cost import KEY, training_costs

AUTOATTACK = frozenset({"aa_linf", "aa_l2", "autoattack", "autoattack_l2", "ta_autoattack"})
WORST = ("unseen", "worst", "autoattack")
"""Unions per image: over unseen attacks, over the worst family, over AutoAttack's variants."""
UNRANKED = "not ranked, "
"""How `missing` begins where a row has numbers and no rank."""
LONG = 400
"""Letters of why a submission is refused that are shown."""
RANKS = ("rank", "rank_low", "rank_high", "tied")
COLUMNS = (
    *Key._fields, "threat", "status", "missing", "note", "attacks", "families", "seeds",
    "episodes", "n", *RANKS, *NUMBERS, "ruled",
    *(part for name in WORST for part in (name, f"{name}_interval")),
    "worst_family", "collateral", "collateral_worst", "training_passes", "adaptation_passes",
    "seconds", "flags", "audit",
)  # fmt: skip
"""`missing`: why there are no numbers, or no rank. `note`: what was counted, where not all was.
`robust` and the other numbers are means over families of the worst attack in each, as in
`headline`. `tied`: network and defense of the rows of the same ranking that no test tells from this
one. `audit`: the verdict on its models, with the codes of what was found."""


def board(
    frame: pd.DataFrame, reference: Collection[TrainedKey] = (),
    refused: Mapping[TrainedKey, str] = MappingProxyType({}),
) -> pd.DataFrame:  # fmt: skip
    """All lines of the leaderboard, columns COLUMNS; incomplete ones have no numbers and no rank.

    Ranked within a data set, threat and K, by robust@K over the same attacks and images, whatever
    the network: `comparable.compared`, which says what `reference` is for. What is `refused` is not
    ranked, and counts in nobody's rank; its texts say why.
    """
    found = list(threat_rows(frame, reference))
    entries = [facts(part) for part in found]
    whole = [(entry, part) for entry, part in zip(entries, found, strict=True) if part.row.complete]
    counted = [part.row.counted("family mean") for _, part in whole]
    _numbers(whole, counted)
    _worst(whole, [part.row.attacks() for _, part in whole])
    _rank(whole, counted, reference, refused)
    table = pd.DataFrame(entries, columns=COLUMNS).astype(
        dict.fromkeys((*QUANTITIES, *WORST), "float64")
        | dict.fromkeys(("n", "episodes", "ruled", *RANKS[:3]), "Int64")
    )
    return _around(table, frame)


def costed(frame: pd.DataFrame, head: pd.DataFrame) -> pd.DataFrame:
    """The lines of `board` over all attacks as plots need them: numbers and what they cost.

    Args:
        frame: the tidy frame.
        head: its `headline`, which has the numbers already; no ranks and unions are made anew.
    """
    table = head[(head["scope"] == "all") & (head["over"] == "family mean")]
    passes = {row.key: adaptation_passes(row) for row in result_rows(frame) if row.scope == "all"}
    keys = [Key(*row) for row in table[list(Key._fields)].itertuples(index=False)]
    found = pd.Series([passes[key] for key in keys], index=table.index, dtype="float64")
    known = training_costs(frame)[[*KEY, "training_passes"]]
    return table.assign(threat=ALL, adaptation_passes=found).merge(known, on=KEY, how="left")


Whole = Sequence[tuple[dict[str, Any], ThreatRow]]
TablesByRow = Sequence[dict[str, Tables]]


def _numbers(whole: Whole, verdicts: TablesByRow) -> None:
    """The quantities over families, with their intervals."""
    rows = [
        aggregate(list(found.values()), [part.row.families[name] for name in found], "family mean")
        for (_, part), found in zip(whole, verdicts, strict=True)
    ]
    measured = measure(rows, [part.row.key.shots > 0 for _, part in whole])
    for (entry, _), found, row, numbers in zip(whole, verdicts, rows, measured, strict=True):
        _, episodes, n = row["static"].shape
        entry.update(columns(numbers), episodes=episodes, n=n, ruled=ruled(found))


def _worst(whole: Whole, verdicts: TablesByRow) -> None:
    """robust@K over groups of attacks, per image the worst, with intervals."""
    places: list[tuple[dict[str, Any], str]] = []
    tables: list[Table] = []
    for (entry, part), found in zip(whole, verdicts, strict=True):
        robust = {name: tables.robust for name, tables in found.items()}
        families = _families(part.row, robust)
        entry["worst_family"] = min(families, key=lambda name: float(families[name].mean()))
        groups = {
            "unseen": [table for name, table in robust.items() if name in part.unseen],
            "worst": [families[entry["worst_family"]]],
            "autoattack": [
                table for name, table in robust.items() if name.partition("[")[0] in AUTOATTACK
            ],
        }
        for name, group in groups.items():
            if group:
                places.append((entry, name))
                tables.append(union(group))
    for (entry, name), table, ends in zip(places, tables, intervals(tables), strict=True):
        entry.update(columns({name: Measured(float(table.mean()), ends)}))


def _families(row: ResultRow, robust: dict[str, Table]) -> dict[str, Table]:
    """By family, right under all its attacks."""
    groups: defaultdict[str, list[Table]] = defaultdict(list)
    for name, table in robust.items():
        groups[row.families[name]].append(table)
    return {family: union(group) for family, group in groups.items()}


def _rank(
    whole: Whole, verdicts: TablesByRow, reference: Collection[TrainedKey],
    refused: Mapping[TrainedKey, str],
) -> None:  # fmt: skip
    """Ranks and ties within each group; what is not ranked says why in `missing`."""
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, (entry, part) in enumerate(whole):
        if part.row.key[:3] in refused:
            entry["missing"] = f"{UNRANKED}{visible(refused[part.row.key[:3]], LONG)}"
            continue
        groups[tuple(entry[name] for name in ("dataset", "threat", "shots"))] += [index]
    for group in groups.values():
        found = compared([whole[index][1].row for index in group], reference)
        ranked: list[tuple[dict[str, Any], ThreatRow]] = []
        counted: list[dict[str, Tables]] = []
        for index, reason, row in zip(group, found.reasons, found.rows, strict=True):
            entry, part = whole[index]
            if reason:
                entry["missing"] = f"{UNRANKED}{reason}"
                continue
            fewer = len(row.expected) < len(part.row.expected)
            counted.append(row.counted("family mean") if fewer else verdicts[index])
            ranked.append((entry, part._replace(row=row)))
            if fewer:
                _note(entry, f"ranked on {len(counted[-1])} of {entry['attacks']} attacks")
        if found.size is not None and ranked:
            _rank_paired(ranked, counted, found.size)


def _rank_paired(whole: Whole, verdicts: TablesByRow, size: Size) -> None:
    """Ranks and ties of rows whose verdicts pair, on the images and episodes that count."""
    scores = np.stack([
        counts(found, part.row.families, size, "family mean")
        for (_, part), found in zip(whole, verdicts, strict=True)
    ])  # fmt: skip
    differ = separated(scores)
    for row, ((entry, part), rank) in enumerate(
        zip(whole, ranks(scores.sum(axis=1), differ), strict=True)
    ):
        tied = [i for i in range(len(whole)) if i != row and not differ[row, i]]
        entry["tied"] = [(whole[i][0]["network"], whole[i][0]["defense"]) for i in tied]
        entry.update(zip(RANKS[:3], rank, strict=True))
        if part.row.size != size:
            _note(entry, f"ranked on {size} of them")


def _note(entry: dict[str, Any], text: str) -> None:
    entry["note"] = "; ".join(filter(None, (entry["note"], text)))


def _around(table: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """With the cost of training, and what adapting did to attacks that were not shown."""
    known = training_costs(frame)[[*KEY, "training_passes"]]
    table = table.drop(columns="training_passes").merge(known, on=KEY, how="left")
    harm = collateral(changes(frame))
    found = [harm.get(Key(*row)) for row in table[list(Key._fields)].itertuples(index=False)]
    return table.assign(
        collateral=pd.Series([one.mean if one else None for one in found], dtype="float64"),
        collateral_worst=pd.Series([one.worst if one else None for one in found], dtype="float64"),
    )[list(COLUMNS)]
