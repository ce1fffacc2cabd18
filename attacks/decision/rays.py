"""RayS (Chen & Gu 2020, arXiv 2006.12792): the nearest wrong point along rays of signs, in linf.

A ray leaves the image in a direction of +-1 for each number of the image. Blocks of signs, first
large, then small, are turned one after the other: if the image is still wrong at the best radius,
the ray is the better one and its radius is found by bisection. Nothing is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.decision.decisions import Decisions
from attacks.decision.walk import DecisionAttack
from attacks.engine.search import repacked
from benchmark.core.streams import Streams

TOLERANCE = 0.01
"""How well radii are known, as a share of themselves; published is 0.001 of the range of a pixel,
which is a tenth of the radii where these are small."""
FIRST = 0.02
"""The first such step on a new ray, as a share of the radius."""


class Rays(NamedTuple):
    """The best ray of each image still in work: all tensors (rows, ...)."""

    rows: Tensor
    signs: Tensor
    """(rows, numbers of an image)."""
    low: Tensor
    """The largest radius on the ray that was right in its bisection."""
    high: Tensor
    """The best radius: wrong, or 1 where nothing wrong is known yet."""
    step: Tensor
    """The most by which the radius is lowered next; doubled each time that it was too little."""
    turn: Tensor
    """Number of the next block."""


@ATTACKS.register
@dataclass(frozen=True)
class RayS(DecisionAttack):
    """Turns blocks of signs and bisects the radius, as published."""

    name: ClassVar[str] = "rays"
    norm: ClassVar[str] = "linf"
    eps: float
    queries: int = 5000

    def attack(self, decisions: Decisions, rng: Streams) -> None:
        """See `DecisionAttack.attack`. Draws nothing."""
        state = begin(decisions)
        blocks = all_blocks(state.signs.shape[1], self.queries).to(state.signs.device)
        while True:
            state = repacked(state, decisions.working(state.rows).nonzero().flatten())
            if not len(state.rows):
                return
            state = advanced(decisions, state, blocks)


def begin(decisions: Decisions) -> Rays:
    """Everything brighter; bisection comes next where that is wrong."""
    images = decisions.images
    rows = torch.arange(len(images), device=images.device)
    signs = torch.ones_like(images).flatten(1)
    high = torch.ones(len(images), device=images.device)
    wrong = decisions.wrong(rows, (images + 1).clamp(0, 1))
    return Rays(rows, signs, torch.where(wrong, 0.0, high), high, high, torch.zeros_like(rows))


def all_blocks(numbers: int, count: int) -> Tensor:
    """First and last number (excluded) of `count` blocks: halves of halves, from the whole on.

    >>> all_blocks(4, 9).tolist()
    [[0, 4], [0, 2], [2, 4], [0, 1], [1, 2], [2, 3], [3, 4], [0, 1], [1, 2]]
    """
    blocks: list[tuple[int, int]] = []
    size = numbers
    while len(blocks) < count:
        blocks += [(first, min(first + size, numbers)) for first in range(0, numbers, size)]
        size = -(-size // 2)
    return torch.tensor(blocks[:count])


def advanced(decisions: Decisions, state: Rays, blocks: Tensor) -> Rays:
    """One query for each image: a smaller radius, or its ray with a block turned.

    A new ray is mostly better by little: its radius is first lowered by steps that double, then
    bisected.
    """
    images = decisions.images[state.rows]
    bisecting = state.high - state.low > TOLERANCE * state.high
    lower = torch.maximum((state.low + state.high) / 2, state.high - state.step)
    radius = torch.where(bisecting, lower, state.high)
    first, last = blocks[state.turn].T[..., None]
    place = torch.arange(state.signs.shape[1], device=images.device)
    turned = (place >= first) & (place < last) & ~bisecting[:, None]
    signs = torch.where(turned, -state.signs, state.signs)
    asked = (images.flatten(1) + radius[:, None] * signs).clamp(0, 1).view_as(images)
    wrong = decisions.wrong(state.rows, asked)
    raised, restarted = bisecting & ~wrong, ~bisecting & wrong
    return Rays(
        state.rows, torch.where(wrong[:, None], signs, state.signs),
        torch.where(raised, radius, state.low.masked_fill(restarted, 0.0)),
        torch.where(wrong, radius, state.high),
        torch.where(restarted, FIRST * state.high, 2 * state.step), state.turn + ~bisecting,
    )  # fmt: skip
