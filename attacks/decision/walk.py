"""What the attacks along the boundary share: options, a first wrong point, bisection."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from attacks.decision.decisions import Decisions
from attacks.engine.ball import BallAttack
from attacks.engine.search import Search
from benchmark.core.streams import Streams
from benchmark.core.types import Family, Goal

CELLS = 4
"""Cells of coarse noise along each side."""


class DecisionAttack(BallAttack):
    """An attack that seeks the nearest wrong point in at most `queries` queries an image."""

    family: ClassVar[Family] = "decision-based"
    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    minimum_norm: ClassVar[bool] = True
    queries: int

    @property
    def passes(self) -> int:
        """One forward a query."""
        return self.queries

    def attack(self, decisions: Decisions, rng: Streams) -> None:
        """Ask about the images of `decisions`. `rng`: a stream per image of it."""
        raise NotImplementedError

    @torch.no_grad()
    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. The last query is kept for a projection on the ball."""
        search = Search(model, images, labels, goal)
        decisions = Decisions(search, self.threat, self.queries - 1)
        if len(images):
            self.attack(decisions, rng)
            decisions.project()
        return decisions.proposed()


def per_row(values: Tensor, images: Tensor) -> Tensor:
    """Values (rows, ...) with as many dimensions as `images` have, to be multiplied by them."""
    shaped: Tensor = values.view(*values.shape, *[1] * (images.dim() - values.dim()))
    return shaped


def sizes(moves: Tensor) -> Tensor:
    """L2 size of each move (rows, ...), (rows,)."""
    found: Tensor = moves.flatten(1).norm(dim=1)
    return found


def find_start(decisions: Decisions, rng: Streams, draws: int) -> Tensor:
    """Ask about noise, up to `draws` times an image; returns the rows with a wrong one.

    Every second draw is coarse: networks take nearly all fine noise for the same class, and images
    of that class would have no start.
    """
    rows = torch.arange(len(decisions.images), device=decisions.images.device)
    waiting, shape = rows, tuple(decisions.images.shape[1:])
    for draw in range(draws):
        waiting = waiting[decisions.working(waiting) & decisions.size[waiting].isinf()]
        if not len(waiting):
            break
        noise = uniform_noise(rng.fork("start", draw).take(waiting), shape, coarse=draw % 2 == 1)
        decisions.wrong(waiting, noise.to(rows.device))
    return rows[decisions.size.isfinite()]


def uniform_noise(rng: Streams, shape: tuple[int, ...], coarse: bool) -> Tensor:
    """Uniform in [0, 1], (images, channels, height, width); `coarse`: alike in each of 16 cells."""
    if not coarse:
        return rng.uniform(shape)
    return interpolate(rng.uniform((shape[0], CELLS, CELLS)), shape[1:])


def bisected(decisions: Decisions, rows: Tensor, points: Tensor, tolerance: float) -> Tensor:
    """Where the ways from images to wrong points (rows, ...) cross the boundary, on its far side.

    `tolerance`: the share of the way that is left between both sides.
    """
    images = decisions.images[rows]
    low = torch.zeros(len(rows), device=images.device)
    high = torch.ones_like(low)
    for _ in range(bisections(tolerance)):
        middle = (low + high) / 2
        wrong = decisions.wrong(rows, images.lerp(points, per_row(middle, images)))
        low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
    return images.lerp(points, per_row(high, images))


def bisections(tolerance: float) -> int:
    """How many queries `bisected` takes."""
    return math.ceil(-math.log2(tolerance))
