"""Near-duplicates counted once: of each cluster of attacks, one stands for all.

Clusters come from `duplicates`, which compares perturbations; records hold verdicts alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmark.core.errors import UsageError
from reports.tidy.escape import visible

NEEDED = {"cluster", "attack"}


class Distinct(NamedTuple):
    """A tidy frame without near-duplicates, and what is said of those left out."""

    frame: pd.DataFrame
    lines: list[str]


def read_clusters(file: Path) -> dict[str, list[str]]:
    """By name of the cluster, its attacks, the representative first; UsageError if it cannot be."""
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--distinct: cannot read {file} ({error})") from None
    if not set(table) >= NEEDED:
        raise UsageError(
            f"--distinct: {file} lacks the columns cluster and attack; expected the clusters.csv "
            "of `duplicates`"
        )
    found: dict[str, list[str]] = {}
    for cluster, attack in zip(table["cluster"], table["attack"], strict=True):
        found.setdefault(cluster, []).append(attack)
    return found


def distinct(frame: pd.DataFrame, file: Path) -> Distinct:
    """The frame with one attack of each cluster: the first of it that a data set and network have.

    Attacks that the file does not name are kept, and named.

    Raises:
        UsageError: the file cannot be read.
    """
    clusters = read_clusters(file)
    lines: dict[str, None] = {}
    dropped = pd.Series(False, index=frame.index)
    for _, part in frame.groupby(["dataset", "network"], sort=False):
        there = set(part.loc[part["status"] != "skipped", "attack"])
        for attacks in clusters.values():
            first, *others = [attack for attack in attacks if attack in there] or [""]
            if others:
                dropped |= part["attack"].isin(others).reindex(frame.index, fill_value=False)
                named = ", ".join(visible(one, 40) for one in others)
                lines.setdefault(f"counted once, as {visible(first, 40)}: {named}")
    known = {attack for attacks in clusters.values() for attack in attacks}
    strange = [name for name in dict.fromkeys(frame["attack"]) if name not in known]
    if strange:
        named = ", ".join(visible(one, 40) for one in strange)
        lines.setdefault(f"not compared with others, so counted each: {named}")
    return Distinct(frame[~dropped].reset_index(drop=True), [*lines])
