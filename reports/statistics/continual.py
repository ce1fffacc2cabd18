"""Metrics of attacks that arrive one after another, and of one that is shown while others attack.

`a[t, i]` is the accuracy under attack i after stage t: stage 0 is the trained model, stage t has
adapted to the attacks 0 to t - 1 in their order, so that attack i arrives at stage i + 1. Shape
(stages + 1, stages, ...): the axes after the first two may hold verdicts instead of accuracies,
and the metric has them too. Lopez-Paz & Ranzato 2017 (arXiv 1706.08840), section 2, for the
transfers; Chaudhry et al. 2018 (arXiv 1801.10112), section 3.1, for forgetting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from reports.statistics.intervals import Table


def average(a: Table) -> Table:
    """mean_i a[T, i]: after the last arrival."""
    mean: Table = _checked(a)[-1].mean(axis=0)
    return mean


def worst_case(a: Table) -> Table:
    """mean_x prod_i correct(x, i, T), before the mean: right under all attacks at once.

    Of verdicts (bool), not of accuracies, whose minimum would be the more flattering number.
    """
    held: Table = np.logical_and.reduce(_checked(a)[-1], axis=0)
    return held


def forgetting(a: Table) -> Table:
    """mean_{i<T} (max_{t<T} a[t, i] - a[T, i]): what the last model lost of the best before it.

    The best stage is chosen by its mean over the further axes. The trained model counts: a stage
    may lose what training had. Below zero where the last model is the best on all.
    """
    last = len(_checked(a, 2)) - 1
    means = a.reshape(*a.shape[:2], -1).mean(axis=-1)
    lost = [a[means[:last, i].argmax(), i] * 1.0 - a[last, i] for i in range(last - 1)]
    return np.asarray(np.mean(lost, axis=0))


def backward_transfer(a: Table) -> Table:
    """mean_{i<T} (a[T, i] - a[i, i]): what later arrivals did to those before; negative: lost."""
    last = len(_checked(a, 2)) - 1
    return np.asarray(np.mean([a[last, i] * 1.0 - a[i + 1, i] for i in range(last - 1)], axis=0))


def forward_transfer(a: Table) -> Table:
    """mean_{i>1} (a[i - 1, i] - a[0, i]): what an attack's arrival was helped by those before."""
    last = len(_checked(a, 2)) - 1
    return np.asarray(np.mean([a[i, i] * 1.0 - a[0, i] for i in range(1, last)], axis=0))


def drift(clean: Table) -> Table:
    """clean[T] - clean[0], for clean accuracies (stages + 1, ...) or their verdicts."""
    return np.asarray(clean[-1] * 1.0 - clean[0])


METRICS: Mapping[str, Callable[[Table], Table]] = {
    "average": average, "union": worst_case, "forgetting": forgetting,
    "backward transfer": backward_transfer, "forward transfer": forward_transfer,
}  # fmt: skip
"""By the name they have in tables."""
ALONE = ("average", "union")
"""Those that one arrival is enough for."""


def _checked(a: Table, arrivals: int = 1) -> Table:
    if a.ndim < 2 or a.shape[0] != a.shape[1] + 1 or a.shape[1] < arrivals:
        raise ValueError(
            f"expected (stages + 1, stages, ...) for at least {arrivals} stages, got {a.shape}"
        )
    return a
