"""When a difference between verdicts is a finding: large enough to matter, and no chance.

A sound model must not be flagged, and an audit asks many questions: so each is asked at a level of
1 %, of verdicts on the same images, and only for differences that somebody would act on.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from reports.statistics.intervals import Interval, wilson
from reports.statistics.paired import Change, change

LEVEL = 0.01
"""Of each test, two-sided [T]; shared out where several are made for one flag."""


def table(*verdicts: Tensor) -> np.ndarray:
    """Verdicts, bool (n,) each, as a table (rows, n)."""
    return np.stack([one.cpu().numpy() for one in verdicts])


def fewer(before: np.ndarray, after: np.ndarray, points: float, tests: int = 1) -> Change | None:
    """What lies between two tables (episodes, n) if `after` has fewer by so many points; or None.

    Args:
        before: verdicts.
        after: of the same images and draws.
        points: the least that counts, in percentage points.
        tests: how many are made for one flag: Bonferroni's share of `LEVEL`.
    """
    found = change(before, after)
    return found if -found.points >= points and found.p < LEVEL / tests else None


def more_than(count: int, n: int, share: float) -> bool:
    """Whether `count` of n are more than chance makes of a `share`: exact binomial test."""
    from scipy.stats import binom  # takes a second

    return bool(binom.sf(count - 1, n, share) < LEVEL)


def half_width(verdicts: np.ndarray) -> float:
    """Half of the 95 % interval of an accuracy (Wilson 1927), of the images of a table."""
    n = verdicts.shape[-1]
    found: Interval = wilson(float(verdicts.mean()) * n, n)
    return (found.high - found.low) / 2
