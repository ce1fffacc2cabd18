"""How alike attacks are, from what they do to the same images of the same models.

Direction: the cosine of two perturbations of an image, mean over images. It tells a step along the
gradient from one along its sign, which the cosine of the signs does not.
Effect: the share of images about which two attacks' verdicts agree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.statistics.intervals import Table

STILL = 1e-6
"""A pixel that moved by no more did not move: what float32 rounds by."""


def cosines(moved: Table) -> Table:
    """Mean cosine of perturbations, (attacks, attacks), over the images that both moved.

        cos(a, b) = <a, b> / (|a| |b|)

    Not a number for two that moved no image in common.

    Args:
        moved: perturbations, (attacks, images, numbers).
    """
    total = np.zeros((len(moved), len(moved)))
    counted = np.zeros_like(total)
    for image in range(moved.shape[1]):
        rows = moved[:, image].astype(np.float64)
        sizes = np.linalg.norm(rows, axis=1)
        both = np.outer(sizes > 0, sizes > 0)
        products = (rows @ rows.T) / np.where(both, np.outer(sizes, sizes), 1)
        total += np.where(both, products, 0)
        counted += both
    found: Table = np.where(counted > 0, total / np.maximum(counted, 1), np.nan)
    return found


def signs(moved: Table) -> Table:
    """-1, 0 or 1 for each number of a perturbation, int8."""
    found: Table = np.where(np.abs(moved) > STILL, np.sign(moved), 0).astype(np.int8)
    return found


def agreement(verdicts: Table) -> Table:
    """Share of images about which two attacks agree, (attacks, attacks); NaN without images.

    Args:
        verdicts: whether each image stood, bool (attacks, images).
    """
    if not verdicts.shape[1]:
        return np.full((len(verdicts), len(verdicts)), np.nan)
    found: Table = (verdicts[:, None] == verdicts[None]).mean(axis=2)
    return found


def mean_known(parts: Sequence[Table]) -> Table:
    """The mean of several measures, over those that are known; NaN where none is."""
    stacked = np.stack(parts)
    known = ~np.isnan(stacked)
    total, count = np.where(known, stacked, 0).sum(axis=0), known.sum(axis=0)
    found: Table = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found


def least(parts: Sequence[Table]) -> Table:
    """Attacks are as alike as they are where they are least alike: the minimum, 0 where unknown."""
    stacked = np.stack(parts)
    lowest = np.where(np.isnan(stacked), np.inf, stacked).min(axis=0)
    found: Table = np.where(np.isinf(lowest), 0, lowest)
    np.fill_diagonal(found, 1)
    return found


def tree(similarity: Table) -> Table:
    """Average linkage (UPGMA, Sokal & Michener 1958) of the distances 1 - similarity: (n - 1, 4).

    In the form of `scipy.cluster.hierarchy.linkage`.
    """
    from scipy.cluster.hierarchy import linkage  # takes a second: not where nothing is compared
    from scipy.spatial.distance import squareform

    distances = np.clip(1 - similarity, 0, None)
    np.fill_diagonal(distances, 0)
    found: Table = linkage(squareform(distances, checks=False), "average")
    return found


def clusters(joined: Table, threshold: float) -> list[int]:
    """The cluster of each attack: cut where attacks are, on average, less alike than that."""
    from scipy.cluster.hierarchy import fcluster

    return [int(one) for one in fcluster(joined, 1 - threshold + 1e-9, "distance")]
