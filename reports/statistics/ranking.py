"""Which rows of a board a paired test can tell apart, and what that leaves of their ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reports.statistics.intervals import CONFIDENCE, Table
from reports.statistics.paired import holm, sign_flip

EXACT = 100
"""Pairs of rows up to which every test is exact: 2 ms each, and a board holds many groups."""


class Rank(NamedTuple):
    """A place in an order, from 1, and the places that the tests leave open, ends included."""

    place: int
    low: int
    high: int


def pairwise(scores: Table) -> Table:
    """Two-sided p-values (rows, rows) that two rows are equally good; 1 on the diagonal.

    Each image has one score a row: how often it was right, summed over episodes, seeds and
    families. `paired.sign_flip` tests the differences exactly, which is McNemar's test where they
    are of one size. Of more than EXACT pairs only those are; the others take the sum of the
    differences over the root of the sum of their squares as normal, with no p-value below
    2^(1 - m), the least that m differing images can give.

    Args:
        scores: whole numbers (rows, n), of the same images.
    """
    p = np.ones((len(scores), len(scores)))
    exact = len(scores) * (len(scores) - 1) // 2 <= EXACT
    for row, own in enumerate(scores[:-1]):
        apart = scores[row + 1 :] - own
        found = [sign_flip(one) for one in apart] if exact else _many(apart)
        p[row, row + 1 :] = p[row + 1 :, row] = found
    return p


def _many(apart: Table) -> Table:
    """The p-values of many sign-flip tests at once: `apart` (tests, n)."""
    from scipy.special import bdtr, ndtr

    size = np.abs(apart).max(axis=1)
    differing = (apart != 0).sum(axis=1)
    total, squares = np.abs(apart.sum(axis=1)), (apart.astype(float) ** 2).sum(axis=1)
    one_size = squares == differing * size**2
    fewer = np.where(one_size, (differing - total / np.maximum(size, 1)) / 2, 0)
    mcnemar = 2 * bdtr(fewer, np.maximum(differing, 1), 0.5)
    normal = 2 * ndtr(-total / np.sqrt(np.maximum(squares, 1)))
    found = np.where(one_size, mcnemar, np.maximum(normal, 2.0 ** (1 - differing)))
    p: Table = np.where(differing == 0, 1.0, found.clip(max=1.0))
    return p


def separated(scores: Table, confidence: float = CONFIDENCE) -> Table:
    """Which pairs of rows differ, bool (rows, rows): `pairwise`, corrected by `holm`."""
    p = pairwise(scores)
    differ: Table = np.zeros(p.shape, dtype=bool)
    upper = np.triu_indices(len(p), 1)
    differ[upper] = holm(p[upper]) <= 1 - confidence
    return differ | differ.T


def ranks(values: Sequence[float], differ: Table) -> list[Rank]:
    """Places by value, the largest first and equal values sharing one, each with its interval.

    From 1 + the rows that are better beyond doubt to the number of rows - those that are worse
    beyond doubt: intervals that hold for all rows at once, as the tests keep their familywise error
    (Al Mohamad, Goeman & van Zwet 2022, Biometrics 78:238).

    >>> ranks([0.5, 0.9], np.array([[False, True], [True, False]]))
    [Rank(place=2, low=2, high=2), Rank(place=1, low=1, high=1)]
    """
    found = np.asarray(values, dtype=float)
    above = found[:, None] < found
    better, worse = (differ & above).sum(axis=1), (differ & above.T).sum(axis=1)
    return [
        Rank(int(place), int(1 + up), int(len(found) - down))
        for place, up, down in zip(1 + above.sum(axis=1), better, worse, strict=True)
    ]
