"""From the verdicts of cells to numbers: the four of one cell, and the same over many attacks.

Pure functions of bool arrays (..., episodes, n): True where an image was classified correctly.
Published metrics over attacks, pure functions of the tidy frame, are here by name too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from reports.statistics.intervals import Interval, Table, intervals
from reports.statistics.published import (  # noqa: F401 (here by name too)
    accuracies,
    average,
    cr_average,
    cr_worst,
    mean_uar,
    ua2,
    uar,
    union_accuracy,
)

Over = Literal["family mean", "union"]

QUANTITIES = (
    "clean", "static", "reattacked", "robust", "inflation", "gain", "robust_before", "clean_before",
    "robust_rule",
)  # fmt: skip
"""What is measured of every cell and of every aggregate."""
_BY_ADAPTING = ("inflation", "gain")


class Tables(NamedTuple):
    """The verdicts of a cell; those of the trained model (`..._before`) have a single episode."""

    clean_before: Table
    before: Table
    clean: Table
    static: Table
    reattacked: Table
    rule: Table | None = None
    """Under the attacker who knows the rule; None where it was not asked for."""

    def each(self, change: Callable[[Table], Table]) -> Tables:
        """All tables, changed alike."""
        rule = None if self.rule is None else change(self.rule)
        return Tables(*map(change, self[:5]))._replace(rule=rule)

    @property
    def robust(self) -> Table:
        """Correct under the stale and the new attack: robust@K, the headline."""
        held: Table = self.static & self.reattacked
        return held


class Measured(NamedTuple):
    """A mean with its 95% interval."""

    value: float
    interval: Interval


def common_prefix(cells: Sequence[Tables]) -> list[Tables]:
    """Cut cells to the episodes and images that all of them have.

    An expensive attack may be scored on fewer images: they are the first of the same order.
    """
    episodes = min(cell.static.shape[-2] for cell in cells)
    n = min(cell.static.shape[-1] for cell in cells)
    return [cell.each(lambda table: table[..., :episodes, :n]) for cell in cells]


def stack(seeds: Sequence[Tables]) -> Tables:
    """The tables of several training seeds, equal in shape, on a new first axis."""
    if len(seeds) == 1:
        return seeds[0].each(lambda table: table[None])
    rules = [seed.rule for seed in seeds if seed.rule is not None]
    known = [np.stack(tables) for tables in zip(*(seed[:5] for seed in seeds), strict=True)]
    rule = np.stack(rules) if len(rules) == len(seeds) else None
    return Tables(*known)._replace(rule=rule)


def union(tables: Sequence[Table]) -> Table:
    """Correct under every attack, per image: mean_x min_a, never min_a mean_x.

    Carlini et al. 2019 (arXiv 1902.06705), section 4. The tables are of the same images.
    """
    held: Table = np.logical_and.reduce(tables)
    return held


def family_mean(tables: Sequence[Table], families: Sequence[str]) -> Table:
    """Per image, the mean over families of the union within the family: float in [0, 1].

    A family counts once, however many near-duplicates of one attack it holds.
    """
    held: Table = np.mean([union(group) for group in _grouped(tables, families)], axis=0)
    return held


def quantities(tables: Tables) -> dict[str, Table]:
    """The tables behind the numbers of one cell, by the names in QUANTITIES."""
    return aggregate([tables], [""], "union")


def aggregate(cells: Sequence[Tables], families: Sequence[str], over: Over) -> dict[str, Table]:
    """The tables behind the numbers over several attacks, by the names in QUANTITIES.

    inflation = static - robust: what scoring stale examples overstates; never negative.
    gain = robust - before: what adaptation is worth. Both are paired, image by image.
    robust_rule = what holds under who knows the rule but not the draw, over the attacks that have
    it: one that a suite scores on one draw has none. Absent if none has.
    Clean accuracy differs between attacks because the model adapted to each of them. It has no
    worst case over attacks; it is the mean over families of the mean within the family.

    Args:
        cells: one per attack, cut to a common prefix.
        families: the family of each attack.
        over: the worst case over all attacks, or the mean over families of the worst in each.
    """

    def worst(tables: list[Table], of: Sequence[str] = families) -> Table:
        return union(tables) if over == "union" else family_mean(tables, of)

    def mean(tables: list[Table]) -> Table:
        if len(tables) == 1:
            return tables[0]  # still bool, which has an exact interval
        groups = [np.mean(group, axis=0) for group in _grouped(tables, families)]
        return np.asarray(np.mean(groups, axis=0))

    before = worst([cell.before for cell in cells])
    static = worst([cell.static for cell in cells])
    robust = worst([cell.robust for cell in cells])
    ruled = [
        (cell.rule, family)
        for cell, family in zip(cells, families, strict=True)
        if cell.rule is not None
    ]
    return {
        "clean": mean([cell.clean for cell in cells]),
        "static": static,
        "reattacked": worst([cell.reattacked for cell in cells]),
        "robust": robust,
        "inflation": static & ~robust if static.dtype == bool else static - robust,
        "gain": robust.astype(np.int8 if robust.dtype == bool else float) - before,
        "robust_before": before,
        "clean_before": cells[0].clean_before,
        **({"robust_rule": worst(*map(list, zip(*ruled, strict=True)))} if ruled else {}),
    }


def _grouped(tables: Sequence[Table], families: Sequence[str]) -> list[list[Table]]:
    groups: defaultdict[str, list[Table]] = defaultdict(list)
    for table, family in zip(tables, families, strict=True):
        groups[family].append(table)
    return list(groups.values())


def _mean(table: Table) -> float:
    """The mean, quickly where the table is of verdicts."""
    if table.dtype == bool:
        return float(np.count_nonzero(table) / table.size)
    return float(table.mean())


def measure(rows: Sequence[dict[str, Table]], adapts: Sequence[bool]) -> list[dict[str, Measured]]:
    """Means and 95% intervals of many rows of quantities at once.

    Where nothing adapts, inflation and gain are 0 by definition: their interval is that point.
    """
    nothing = Measured(0.0, Interval(0.0, 0.0))
    pairs = list(zip(rows, adapts, strict=True))
    signed = [row["gain"] for row, adapted in pairs if adapted]
    shares = [
        table for row, adapted in pairs for name, table in row.items()
        if name != "gain" and (adapted or name not in _BY_ADAPTING)
    ]  # fmt: skip
    gains, others = iter(intervals(signed, signed=True)), iter(intervals(shares))
    return [
        {
            name: Measured(_mean(table), next(gains if name == "gain" else others))
            if adapted or name not in _BY_ADAPTING else nothing
            for name, table in row.items()
        }
        for row, adapted in pairs
    ]  # fmt: skip
