"""Learning from images of the attacker's own: minibatches, cut smaller where memory is short."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmark.core.out_of_memory import halved
from benchmark.core.types import Batch

AT_ONCE = 100


def minibatches(own: Batch) -> list[Tensor]:
    """Rows (int64) of at most AT_ONCE images, in order; none of no images."""
    rows = torch.arange(len(own.labels), device=own.labels.device)
    return list(torch.split(rows, AT_ONCE)) if len(rows) else []


def visits(own: Batch, epochs: int) -> Iterator[tuple[Batch, float]]:
    """Every minibatch, `epochs` times over, and the share of the steps that is left, 1 at first."""
    parts = minibatches(own)
    steps = epochs * len(parts)
    for step in range(steps):
        yield own.take(parts[step % len(parts)]), 1 - step / steps


def total(parts: list[Tensor], work: Callable[[Tensor], Tensor]) -> Tensor:
    """The sum of what `work` makes of each part, or of halves of it: rows int64 (n,)."""
    return torch.stack([*halved(parts, work)]).sum(dim=0)
