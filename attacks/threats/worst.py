"""What a set draws, and the strongest of a few images of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from attacks.engine.search import Search, own_loss
from benchmark.core.streams import Streams

DRAWS = 64
"""From each set for each image; the model is asked about a few of them."""


class Drawn(NamedTuple):
    """What a set can make of n images, (n, channels, height, width) each time."""

    start: Tensor
    """As they are, or the middle of the set."""
    draws: Tensor
    """Numbers of the set, (n, draws, ...)."""
    make: Callable[[Tensor], Tensor]
    """Images for one draw each, (n, ...)."""
    promise: Callable[[Tensor], Tensor]
    """What each draw adds to a loss to first order, (n, draws), given its gradient at `start`."""


def worst(model: nn.Module, labels: Tensor, drawn: Drawn, tries: int) -> Tensor:
    """Of `start` and the draws the image with the highest loss, misclassified ones first.

    The model is asked about the `tries` most promising draws alone. On MNIST two warps so chosen
    break as many images as the worst of 8 to 16, four masks as many as of 16: at 4 and 6 passes.
    """
    search = Search(model, drawn.start, labels, "examples")
    rows = search.everyone()
    gradient = search.climb(rows, drawn.start, own_loss)
    for chosen in drawn.promise(gradient).topk(tries, dim=1).indices.T:
        search.ask(rows, drawn.make(drawn.draws[rows, chosen]).clamp(0, 1))
    return search.best


def along(make: Callable[[Tensor], Tensor], draws: Tensor, gradient: Tensor) -> Tensor:
    """What draws (n, draws, k) add to a loss to first order, (n, draws): of numbers about zero.

    `gradient` is the loss's at make(zeros (n, k)), (n, channels, height, width).
    """
    with torch.enable_grad():
        still = torch.zeros_like(draws[:, 0]).requires_grad_()
        (slope,) = torch.autograd.grad(make(still), still, gradient)
    return (draws @ slope[:, :, None])[..., 0]


def between(observed: Tensor, rng: Streams) -> Tensor:
    """Numbers (n, DRAWS, k) for the n images of `rng`: those of a pair, or between two pairs'.

    Each of the two by a fair coin. Nothing outside the convex hull of what was observed (pairs, k)
    is drawn: the corners of a box about it are far beyond any pair where k is 3 or 4.
    """
    one, other = (
        observed[rng.integers(len(observed), (DRAWS,)).to(observed.device)] for _ in range(2)
    )
    share = (2 * rng.uniform((DRAWS,)) - 1).clamp_min(0)[..., None]
    return one + share.to(observed.device) * (other - one)
