"""What training took, and who may be compared: defenses of equal training cost."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pandas as pd

from benchmark.core.errors import UsageError, unknown
from reports.tidy.frame import rows

KEY = ["dataset", "network", "defense"]
COSTS = ("training_passes", "training_images", "training_updates", "training_seconds")
TOLERANCE = 10.0
"""Percent."""


class Equal(NamedTuple):
    """A frame of comparable defenses, and a line for each that was left out and why."""

    frame: pd.DataFrame
    left_out: list[str]


def training_costs(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per data set, network and defense: COSTS, each the mean over seeds; null if unknown."""
    models = frame.drop_duplicates([*KEY, "seed"])
    models = models.assign(**{name: models[name].astype("Float64") for name in COSTS})
    return models.groupby(KEY, sort=False)[list(COSTS)].mean().reset_index()


def equal_training(frame: pd.DataFrame, reference: str) -> Equal:
    """The rows of defenses whose training passes are near those of a reference defense.

    Args:
        frame: the tidy frame.
        reference: a defense of it, with a tolerance or without: `pgd_at`, `pgd_at:5%`.

    Raises:
        UsageError: no such defense, its cost is unknown, or the tolerance is none.
    """
    name, percent = _parse(reference)
    costs = training_costs(frame)
    if name not in set(costs["defense"]):
        raise unknown("defense in --equal-training", name, set(costs["defense"]))
    kept, left_out = [], []
    for (dataset, network), part in costs.groupby(["dataset", "network"], sort=False):
        of_reference = part.loc[part["defense"] == name, "training_passes"]
        wanted = None if of_reference.isna().all() else float(of_reference.iloc[0])
        for row in rows(part):
            reason = _unequal(row, name, wanted, percent)
            if reason is None:
                kept.append((dataset, network, row.defense))
            else:
                left_out.append(f"left out: {row.defense} on {dataset}, {network}: {reason}")
    if not kept:
        raise UsageError(
            f"--equal-training {name}: its training passes are not known; expected a defense that "
            "was trained here, by this version"
        )
    chosen = frame[[tuple(key) in set(kept) for key in frame[KEY].to_numpy()]]
    return Equal(chosen.reset_index(drop=True), left_out)


def _parse(reference: str) -> tuple[str, float]:
    name, colon, rest = reference.rpartition(":")
    if not colon or not rest.endswith("%"):
        return reference, TOLERANCE
    if not re.fullmatch(r"\d+(\.\d+)?%", rest):
        raise UsageError(f"--equal-training {reference}: expected a tolerance such as 10%")
    return name, float(rest[:-1])


def _unequal(row: Any, reference: str, wanted: float | None, percent: float) -> str | None:
    """Why a defense does not compare; None if it does."""
    if wanted is None:
        return f"the training cost of {reference} is not known there"
    if pd.isna(row.training_passes):
        return "its training cost is not known"
    apart = 100 * abs(row.training_passes - wanted) / wanted if wanted else 0.0
    if apart <= percent and (wanted or not row.training_passes):
        return None
    return (
        f"{row.training_passes:,.0f} training passes, {reference} has {wanted:,.0f} "
        f"(more than {percent:g}% apart)"
    )


def in_short(passes: Any) -> str:
    """A count of passes for a narrow column; empty where it is not known.

    >>> [in_short(count) for count in (None, 0, 950, 680_000, 12_300_000)]
    ['', '0', '950', '680k', '12.3M']
    """
    if pd.isna(passes):
        return ""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if passes >= size:
            return f"{float(f'{passes / size:.3g}'):g}{unit}"
    return f"{passes:.0f}"
