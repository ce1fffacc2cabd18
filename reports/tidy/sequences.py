"""Cells in which other attacks were shown than the scored one: pairs of attacks, and sequences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from reports.statistics.continual import ALONE, METRICS, drift
from reports.statistics.intervals import Table, intervals
from reports.statistics.scores import Tables, common_prefix
from reports.tidy.frame import THEN, rows
from reports.tidy.rows import Key, by_family, evidence, key_of

Order = tuple[str, ...]
CHANGE_COLUMNS = (
    *Key._fields, "shown", "family_shown", "attack", "family", "robust_before", "robust", "change",
    "change_low", "change_high", "clean_change", "seeds", "episodes", "n",
)  # fmt: skip
STAGE_COLUMNS = (
    *Key._fields, "sequence", "stage", "arrived", "measure", "value", "low", "high", "seeds",
    "episodes", "n",
)  # fmt: skip


class ScoredAlike(NamedTuple):
    """All done cells of a trained defense and a budget, scored on the same images."""

    key: Key
    cells: dict[tuple[Order, str], dict[int, Any]]
    """By what was shown and what attacked, then by seed: rows of the tidy frame."""
    families: dict[str, str]

    def tables(self, shown: Order, attack: str) -> list[Tables]:
        """The verdicts of the seeds, or none."""
        return [row.verdicts for _, row in sorted(self.cells.get((shown, attack), {}).items())]


def groups(frame: pd.DataFrame) -> Iterator[ScoredAlike]:
    """A group for each key some of whose cells scored another attack than the one shown."""
    done = frame[(frame["status"] == "done") & frame["adapts"]]
    done = done[done["query"] == done.groupby(["dataset"])["query"].transform(_usual)]
    found: defaultdict[Key, dict[tuple[Order, str], dict[int, Any]]] = defaultdict(dict)
    for row in sorted(rows(done), key=evidence):
        shown = tuple(row.shown.split(THEN)) if row.shown else (row.attack,)
        found[key_of(row)].setdefault((shown, row.attack), {})[row.seed] = row
    families = dict(zip(frame["attack"], frame["family"], strict=True))
    for row in rows(done[done["shown"] != ""]):
        families |= dict(zip(row.shown.split(THEN), row.families_shown, strict=True))
    place = {name: number for number, name in enumerate(dict.fromkeys(frame["defense"]))}
    for key in sorted(found, key=lambda key: (key[:2], place[key.defense], key[3:])):
        if any(shown != (attack,) for shown, attack in found[key]):
            yield ScoredAlike(key, found[key], families)


def changes(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each pair of an attack shown alone and an attack scored: robust@K - robust@0.

    Columns CHANGE_COLUMNS; `change` has a 95% interval. Where a pair is missing, so is its row.
    """
    entries, tables = [], []
    for group in groups(frame):
        pairs = [(shown, attack) for shown, attack in group.cells if len(shown) == 1]
        for (shown,), attack in sorted(pairs, key=lambda pair: _place(group, pair[0][0], pair[1])):
            seeds = common_prefix(group.tables((shown,), attack))
            robust, before = (np.stack(each) for each in _robust(seeds))
            clean = np.mean([one.clean.mean() - one.clean_before.mean() for one in seeds])
            tables.append(robust.astype(float) - before)
            entries.append(
                group.key._asdict() | {
                    "shown": shown, "family_shown": group.families[shown], "attack": attack,
                    "family": group.families[attack], "robust_before": before.mean(),
                    "robust": robust.mean(), "clean_change": clean, **_size(robust),
                }
            )  # fmt: skip
    for entry, table, ends in zip(entries, tables, intervals(tables, signed=True), strict=True):
        entry |= {"change": float(table.mean()), "change_low": ends.low, "change_high": ends.high}
    return pd.DataFrame(entries, columns=CHANGE_COLUMNS)


class Collateral(NamedTuple):
    """What adapting did to attacks that were not shown; in [-1, 1], negative is harm."""

    mean: float
    worst: float
    shown: str
    attack: str
    """The pair of the worst change."""


def collateral(changed: pd.DataFrame, by_shown: bool = False) -> dict[Any, Collateral]:
    """From `changes`: by Key, or by (Key, the attack shown), what happened to the other attacks.

    The mean is over all pairs of two attacks, near-duplicates of one family included; which they
    are stands in the matrix.
    """
    found: defaultdict[Any, list[Any]] = defaultdict(list)
    for row in rows(changed):
        if row.shown != row.attack:
            key = Key(*(getattr(row, name) for name in Key._fields))
            found[(key, row.shown) if by_shown else key].append(row)
    return {key: _summed_up(pairs) for key, pairs in found.items()}


def _summed_up(pairs: list[Any]) -> Collateral:
    worst = min(pairs, key=lambda row: float(row.change))
    mean = float(np.mean([row.change for row in pairs]))
    return Collateral(mean, float(worst.change), worst.shown, worst.attack)


def sequences(group: ScoredAlike) -> list[Order]:
    """The longest orders of arrivals, each with all its stages; empty where there is none."""
    found = {shown for shown, _ in group.cells if len(shown) > 1}
    inside = {order[:end] for order in found for end in range(1, len(order))}
    return sorted(found - inside)


def stages(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each stage of a sequence and what is measured after it, with a 95% interval.

    `measure` is a scored attack (robust accuracy), `union` or `clean`; at the last stage also the
    metrics of `reports.statistics.continual` over the attacks that arrived, and `clean drift`. A
    sequence with a missing cell has no rows. Columns STAGE_COLUMNS.
    """
    entries: list[dict[str, Any]] = []
    for group in groups(frame):
        for order in sequences(group):
            entries += _stages(group, order)
    return pd.DataFrame(entries, columns=STAGE_COLUMNS)


def _stages(group: ScoredAlike, order: Order) -> list[dict[str, Any]]:
    """All rows of one sequence; none if a cell is missing."""
    scored = {attack for shown, attack in group.cells if shown == order}
    names = [*dict.fromkeys(name for name in order if name in scored)]
    names += sorted(scored - set(order), key=lambda name: by_family(group.families[name]))
    ends = [order[: stage + 1] for stage in range(len(order))]
    found = [group.tables(end, name) for end in ends for name in names]
    if not all(found) or not set(order) <= scored or len({len(seeds) for seeds in found}) > 1:
        return []
    cut = common_prefix([one for seeds in found for one in seeds])
    seeds = len(found[0])
    shape = (len(ends), len(names), seeds)
    robust, before = (np.stack(part).reshape(*shape, *part[0].shape) for part in _robust(cut))
    clean = np.stack([one.clean for one in cut]).reshape(*shape, *cut[0].clean.shape)[:, 0]
    start = np.stack([np.broadcast_to(one.clean_before, one.clean.shape) for one in cut[:seeds]])
    a, cleans = np.concatenate([before[:1], robust]), np.concatenate([start[None], clean])
    arrived = [names.index(name) for name in order]
    return _rows(group.key, order, names, a, cleans, arrived)


def _rows(
    key: Key, order: Order, names: list[str], a: Table, cleans: Table, arrived: list[int]
) -> list[dict[str, Any]]:
    measured: list[tuple[int, str, Table, bool]] = []
    for stage in range(len(order) + 1):
        measured += [(stage, name, a[stage, i], False) for i, name in enumerate(names)]
        measured += [(stage, "union", np.logical_and.reduce(a[stage, arrived]), False)]
        measured += [(stage, "clean", cleans[stage], False)]
    chosen = a[:, arrived]
    for name, metric in METRICS.items():
        if name != "union" and (len(order) > 1 or name in ALONE):
            measured.append((len(order), name, metric(chosen), name not in ALONE))
    measured.append((len(order), "clean drift", drift(cleans), True))
    ends = {
        signed: iter(intervals([table for *_, table, sign in measured if sign == signed], signed))
        for signed in (False, True)
    }
    return [
        key._asdict() | {
            "sequence": THEN.join(order), "stage": stage,
            "arrived": order[stage - 1] if stage else "", "measure": name,
            "value": float(table.mean()), **next(ends[signed])._asdict(), **_size(table),
        }
        for stage, name, table, signed in measured
    ]  # fmt: skip


def _robust(seeds: list[Tables]) -> tuple[list[Table], list[Table]]:
    """Verdicts (episodes, n) of the adapted models, and of the trained one as often."""
    robust = [one.robust for one in seeds]
    return robust, [
        np.broadcast_to(one.before, table.shape) for one, table in zip(seeds, robust, strict=True)
    ]


def _usual(values: pd.Series) -> Any:
    """The most frequent one: verdicts on other images pair with nothing."""
    return values.mode().iloc[0]


def _size(table: Table) -> dict[str, int]:
    seeds, episodes, n = table.shape
    return {"seeds": seeds, "episodes": episodes, "n": n}


def _place(group: ScoredAlike, shown: str, attack: str) -> tuple[Any, ...]:
    families = group.families
    return (by_family(families[shown]), shown, by_family(families[attack]), attack)
