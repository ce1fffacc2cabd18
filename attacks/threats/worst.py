"""What a set draws, and the strongest of a few images of it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attacks.engine.search import Search
from benchmark.core.streams import Streams


def worst(
    model: nn.Module, images: Tensor, labels: Tensor, tries: int, draw: Callable[[Streams], Tensor],
    rng: Streams,
) -> Tensor:  # fmt: skip
    """Of `tries` draws for each image the one with the highest loss, misclassified ones first."""
    search = Search(model, images, labels, "examples")
    for _ in range(tries):
        search.ask(search.everyone(), draw(rng).clamp(0, 1))
    return search.best


def between(observed: Tensor, rng: Streams) -> Tensor:
    """Numbers (n, k) for the n images of `rng`: those of a pair, or somewhere between two pairs'.

    Each of the two by a fair coin. Nothing outside the convex hull of what was observed (pairs, k)
    is drawn: the corners of a box about it are far beyond any pair where k is 3 or 4.
    """
    one, other = (observed[rng.integers(len(observed)).to(observed.device)] for _ in range(2))
    share = torch.maximum(2 * rng.uniform() - 1, torch.zeros(len(rng)))[:, None]
    return one + share.to(observed.device) * (other - one)
