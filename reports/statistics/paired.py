"""Two sets of verdicts on the same images: how far apart they are, and whether that is chance.

A test of verdicts must know what is independent. Images are; the episodes of one image are not:
ten episodes in which an image is lost are one hard image, not ten. So each image gets one number,
its difference summed over episodes, and the exact sign-flip permutation test asks how often random
signs of these numbers would add up to as much (Fisher 1935; Pitman 1937). With one episode that is
McNemar's exact test, to the letter. A majority vote per image, the alternative, is blind to images
that fall from three episodes of three to two, and has no answer for even numbers of episodes.

What is inferred concerns images, given these draws of the support and these trained models: both
sides saw the same draws, and three to ten episodes could never reach p < 0.01 by themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from reports.statistics.intervals import Interval, Table, intervals


class Change(NamedTuple):
    """What lies between the verdicts of two models, or of one model at two times."""

    before: float
    after: float
    lost: int
    """Verdicts, over all images and episodes, that were right and now are wrong."""
    won: int
    """The other way round."""
    n: int
    episodes: int
    p: float
    """Two-sided, exact, not corrected for anything."""

    @property
    def points(self) -> float:
        """What was gained, in percentage points, from the counts: free of rounding."""
        return 100 * (self.won - self.lost) / (self.n * self.episodes)

    @property
    def odds(self) -> float | None:
        """Won over lost: the odds that a verdict that changed is right now; None without changes.

        The odds ratio of discordant pairs, an effect size (Fleiss, Levin & Paik 2003, ch. 13).
        """
        if self.lost == 0:
            return float("inf") if self.won else None
        return self.won / self.lost


def change(before: Table, after: Table) -> Change:
    """Compare verdicts (episodes, n) of the same images and draws of the support."""
    if before.shape != after.shape or before.ndim != 2:
        raise ValueError(f"expected two tables (episodes, n), got {before.shape}, {after.shape}")
    lost, won = before & ~after, after & ~before
    episodes, n = before.shape
    sums: Table = won.sum(axis=0, dtype=np.int64) - lost.sum(axis=0, dtype=np.int64)
    means = float(before.mean()), float(after.mean())
    return Change(*means, int(lost.sum()), int(won.sum()), n, episodes, sign_flip(sums))


def sign_flip(sums: Table) -> float:
    """Two-sided p of the exact sign-flip test of whole numbers (n,), one an image.

    The sum of the positive ones is, under the null, a sum of independent `size * Bin(count, 1/2)`:
    its distribution is a convolution, so that nothing is sampled.
    """
    from scipy.signal import convolve  # takes a second: not where nothing is compared

    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    null: Table = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spread = np.zeros(size * count + 1)
        spread[::size] = _coins(count)
        null = spread if len(null) == 1 else convolve(null, spread)
    up = int(sums[sums > 0].sum())
    furthest = max(up, len(null) - 1 - up)
    return min(1.0, 2 * float(np.clip(null[furthest:], 0, None).sum()))


@lru_cache(maxsize=4096)
def _coins(count: int) -> Table:
    """How likely 0 to `count` heads are."""
    from scipy.stats import binom

    chances: Table = binom.pmf(np.arange(count + 1), count, 0.5)
    return chances


def holm(p: Sequence[float] | Table) -> Table:
    """Adjusted p of the tests along the last axis, whatever their dependence (Holm 1979).

    The chance that any true null falls below a level is at most that level.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    found = np.asarray(p, dtype=float)
    order = np.argsort(found, axis=-1)
    left = found.shape[-1] - np.arange(found.shape[-1])
    raised = np.minimum(1.0, np.take_along_axis(found, order, axis=-1) * left)
    adjusted = np.empty_like(found)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(raised, axis=-1), axis=-1)
    return adjusted


def change_intervals(pairs: Sequence[tuple[Table, Table]]) -> list[Interval]:
    """95% intervals of after - before, in [-1, 1]: over images, given the episodes, like the test.

    Where one episode changed in so few images that the bootstrap is blind, Wilson's: `intervals`.
    """
    means: list[Any] = [
        (after.astype(float) - before).mean(axis=0, keepdims=True) for before, after in pairs
    ]
    return intervals(means, signed=True)
