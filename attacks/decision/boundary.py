"""The boundary attack (Brendel, Rauber & Bethge 2018, arXiv 1712.04248) in l2.

A random walk among wrong points: a step sideways, at the same distance of the image, then one
towards the image. Both sizes adapt to how often such steps end among wrong points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.decision.decisions import Decisions
from attacks.decision.walk import DecisionAttack, bisected, find_start, per_row, sizes
from attacks.engine.geometry import ascent
from attacks.engine.search import repacked
from benchmark.core.streams import Streams

SIDEWAYS, TOWARDS = 0.5, 0.25
"""How often steps should succeed: those sideways alone, and both together."""
LOOK = 5
"""One query of so many asks about the step sideways alone."""
GROWTH = 1.2
"""By how much a success makes steps longer; failures shrink them so that the wanted share holds."""
TOLERANCE = 1e-3
"""How well the first point on the boundary is known, as a share of its distance."""


class Walk(NamedTuple):
    """Where each image still in work is: all tensors (rows, ...)."""

    rows: Tensor
    point: Tensor
    sideways: Tensor
    """Size of the step sideways, as a share of the distance."""
    towards: Tensor
    """Size of the step towards the image, as a share of the distance."""


@ATTACKS.register
@dataclass(frozen=True)
class Boundary(DecisionAttack):
    """A random walk along the boundary that comes nearer."""

    name: ClassVar[str] = "boundary"
    norm: ClassVar[str] = "l2"
    eps: float
    queries: int = 10000
    draws: int = 100
    """The most starts that are tried."""
    sideways: float = 0.1
    """The first step sideways, as a share of the distance."""
    towards: float = 0.1
    """The first step towards the image, as a share of the distance."""

    def attack(self, decisions: Decisions, rng: Streams) -> None:
        """See `DecisionAttack.attack`."""
        rows = find_start(decisions, rng, self.draws)
        points = bisected(decisions, rows, decisions.point[rows], TOLERANCE)
        first = torch.ones(len(rows), device=points.device)
        state = Walk(rows, points, first * self.sideways, first * self.towards)
        for query in range(self.queries):
            state = repacked(state, decisions.working(state.rows).nonzero().flatten())
            if not len(state.rows):
                return
            drawn = rng.fork("step", query).take(state.rows).normal(tuple(points.shape[1:]))
            state = walked(decisions, state, drawn.to(points.device), query % LOOK == 0)


def walked(decisions: Decisions, state: Walk, drawn: Tensor, alone: bool) -> Walk:
    """One query: the step sideways `alone`, or both steps, which are made if the end is wrong."""
    images = decisions.images[state.rows]
    aside = sidestep(images, state.point, drawn, state.sideways)
    if alone:
        wrong = decisions.wrong(state.rows, aside)
        return state._replace(sideways=adapted(state.sideways, wrong, SIDEWAYS))
    there = aside.lerp(images, per_row(state.towards, images))
    wrong = decisions.wrong(state.rows, there)
    nearer = wrong & (sizes(there - images) < sizes(state.point - images))
    return state._replace(
        point=torch.where(per_row(nearer, images), there, state.point),
        towards=adapted(state.towards, wrong, TOWARDS),
    )


def sidestep(images: Tensor, points: Tensor, drawn: Tensor, share: Tensor) -> Tensor:
    """Points (rows, ...) moved by `share` of their distance, which stays, in [0, 1].

    `drawn` is made orthogonal to the way from the image, then the sum is scaled back.
    """
    way = points - images
    far = per_row(sizes(way), images)
    ahead = ascent(way, images, "l2")
    along = per_row((drawn * ahead).flatten(1).sum(dim=1), images)
    aside = ascent(drawn - along * ahead, images, "l2")
    moved = ascent(ahead + per_row(share, images) * aside, images, "l2")
    return (images + far * moved).clamp(0, 1)


def adapted(size: Tensor, success: Tensor, wanted: float) -> Tensor:
    """Step sizes (rows,) that stay where they are on average when `wanted` of the steps succeed."""
    shrink = GROWTH ** (-wanted / (1 - wanted))
    return (size * torch.where(success, GROWTH, shrink)).clamp_max(1.0)
