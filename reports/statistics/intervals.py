"""95% intervals of verdict tables: Wilson where a proportion is simple, else the bootstrap.

A table is an array whose last axis counts images and whose axes before it count episodes (and,
before those, training seeds).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Table = NDArray[Any]

CONFIDENCE = 0.95
REPLICATES = 2000
FEW = 5

_AT_ONCE = 2**22
"""Sums made by one matrix product: bounds the memory, not the result."""


class Interval(NamedTuple):
    """A confidence interval, ends included."""

    low: float
    high: float


def wilson(successes: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Score interval of a proportion p = successes / n.

        (p + z^2 / 2n  +-  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Wilson 1927; recommended by Brown, Cai & DasGupta 2001. Unlike p +- z sqrt(p (1 - p) / n) it
    does not shrink to a point at 0% and 100%.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"expected n >= 1 and 0 <= successes <= n, got {successes} of {n}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = successes / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / scale
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5 / scale
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(low, high)


def bootstrap(
    table: Table, confidence: float = CONFIDENCE, replicates: int = REPLICATES, seed: int = 0
) -> Interval:
    """Percentile interval of the mean, every axis resampled independently with replacement.

    The pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics 1:386): episodes share images
    and images share episodes, so resampling one of the two alone would claim too much certainty.
    It errs on the wide side where verdicts are independent noise. A constant table gives a point:
    use `interval`.
    """
    low, high = _ends(table[None], confidence, replicates, seed)[0]
    return Interval(float(low), float(high))


def interval(table: Table, signed: bool = False) -> Interval:
    """The 95% interval of one table's mean; see `intervals`."""
    return intervals([table], signed)[0]


def intervals(tables: Sequence[Table], signed: bool = False) -> list[Interval]:
    """95% intervals of the tables' means: Wilson for one row of verdicts, else the bootstrap.

    The bootstrap sees only what varies: where fewer than FEW images differ from all others it
    would answer with a point, or nearly, whatever n. There the shares of images above and below
    the usual value get Wilson's interval, n being the images alone: further episodes on the same
    images are no evidence about other images.

    Args:
        tables: verdicts (bool), means of verdicts (float) or, if `signed`, their differences.
        signed: whether the means lie in [-1, 1] rather than in [0, 1].
    """
    found: dict[int, Interval] = {}
    alike: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for index, table in enumerate(tables):
        if table.dtype == bool and table.size == table.shape[-1]:
            found[index] = wilson(int(np.count_nonzero(table)), table.size)
        else:
            alike[table.shape, table.dtype].append(index)
    for (shape, _), indices in alike.items():
        size = max(1, _AT_ONCE // (int(np.prod(shape[:-1])) * REPLICATES))
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            stacked = np.stack([tables[index] for index in part])
            few = _few(stacked)
            ends = iter(_ends(stacked[~few], CONFIDENCE, REPLICATES, 0).tolist())
            found |= {
                index: _shifted(table, signed) if blind else Interval(*next(ends))
                for index, table, blind in zip(part, stacked, few, strict=True)
            }
    return [found[index] for index in range(len(tables))]


def _few(tables: Table) -> Table:
    """Which of `tables` (tables, ..., n) have fewer than FEW images that differ from the usual."""
    by_image = tables.reshape(len(tables), -1, tables.shape[-1])
    usual = _usual(by_image[:, 0])[:, None, None]
    differing: Table = (by_image != usual).any(axis=1).sum(axis=-1)
    return differing < FEW


def _shifted(table: Table, signed: bool) -> Interval:
    """Wilson's intervals of the shares of images above and below the usual value."""
    n = table.shape[-1]
    by_image = table.reshape(-1, n)
    usual = float(_usual(by_image[:1])[0])
    nothing, floor = Interval(0.0, 0.0), -1.0 if signed else 0.0
    above = by_image.astype(float) - usual
    up = wilson(above.clip(min=0).mean() * n, n) if usual < 1 else nothing
    down = wilson((-above).clip(min=0).mean() * n, n) if usual > floor else nothing
    low, high = usual + up.low - down.high, usual + up.high - down.low
    return Interval(max(floor, low), min(1.0, high))


def _usual(values: Table) -> Table:
    """The medians of `values` (tables, n), quickly where they are verdicts."""
    if values.dtype != bool:
        return np.asarray(np.median(values, axis=-1))
    right = np.count_nonzero(values, axis=-1)
    half: Table = (np.sign(2 * right - values.shape[-1]) + 1) / 2
    return half


def _ends(tables: Table, confidence: float, replicates: int, seed: int) -> Table:
    """The percentiles (tables, 2) of the resampled means of `tables` (tables, ..., n)."""
    n = tables.shape[-1]
    sums = tables.reshape(-1, n).astype(np.float32) @ _counts(n, 1, replicates, seed)
    sums = sums.reshape(*tables.shape[:-1], replicates)
    for axis in range(1, tables.ndim - 1):  # seeds, then episodes: the first axis that is left
        counts = _counts(tables.shape[axis], tables.ndim - axis, replicates, seed)
        sums = np.einsum("ts...r,sr->t...r", sums, counts)
    tail = (1 - confidence) / 2
    return _percentiles(sums, [tail, 1 - tail]) / np.prod(tables.shape[1:])


def _percentiles(sums: Table, shares: Sequence[float]) -> Table:
    """`np.quantile` over the last axis, (tables, shares); sorting takes a fifth of its time."""
    ordered = np.sort(sums, axis=-1)
    places = np.asarray(shares) * (sums.shape[-1] - 1)
    below = places.astype(int)
    low, high = (ordered[..., at].astype(float) for at in (below, np.ceil(places).astype(int)))
    found: Table = low + (high - low) * (places - below)
    return found


@lru_cache(maxsize=12)
def _counts(size: int, axis: int, replicates: int, seed: int) -> Table:
    """How often each of `size` items is drawn in each replicate: float32 (size, replicates).

    Counts turn resampling into a matrix product. They depend on the size and the axis (from the
    last: images 1, episodes 2) alone, so tables of the same images are resampled alike.
    """
    rng = np.random.default_rng((seed, axis, size))
    draws = (rng.integers(size, size=size) for _ in range(replicates))
    counts = np.stack([np.bincount(draw, minlength=size) for draw in draws], axis=1)
    return counts.astype(np.float32)
