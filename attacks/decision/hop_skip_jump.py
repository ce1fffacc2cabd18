"""HopSkipJump (Chen, Jordan & Wainwright 2020, arXiv 1904.02144) in l2.

Each round starts on the boundary, estimates its normal from the answers around, steps along the
normal and comes back to the boundary by bisection towards the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import ClassVar

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.decision.decisions import Decisions
from attacks.decision.walk import (
    DecisionAttack,
    bisected,
    bisections,
    find_start,
    per_row,
    sizes,
)
from attacks.engine.geometry import ascent
from benchmark.core.streams import Streams

TOGETHER = 10
"""Directions that an image is dealt at once."""
HALVINGS = 10
"""The most times that a step is halved; then the point stays where it is."""
SPARE = 3
"""Queries of a step that are kept for it when the others are shared out."""


@ATTACKS.register
@dataclass(frozen=True)
class HopSkipJump(DecisionAttack):
    """Steps along normals of the boundary that are estimated from decisions alone."""

    name: ClassVar[str] = "hop_skip_jump"
    norm: ClassVar[str] = "l2"
    eps: float
    queries: int = 5000
    samples: int = 100
    """Directions of the first round; round t has sqrt(t) times as many."""
    draws: int = 100
    """The most starts that are tried."""

    def attack(self, decisions: Decisions, rng: Streams) -> None:
        """See `DecisionAttack.attack`."""
        rows = find_start(decisions, rng, self.draws)
        numbers = decisions.images[0].numel()
        tolerance = numbers**-1.5
        points = bisected(decisions, rows, decisions.point[rows], tolerance)
        for number in count(1):
            directions = self.shared_out(decisions.left[rows], number, bisections(tolerance))
            stay = decisions.working(rows) & (directions > 0)
            rows, points, directions = rows[stay], points[stay], directions[stay]
            if not len(rows):
                return
            around = rng.fork("round", number).take(rows)
            normal = estimated(decisions, rows, points, directions, around)
            points = stepped(decisions, rows, points, normal, number)
            points = bisected(decisions, rows, points, tolerance)

    def shared_out(self, left: Tensor, number: int, bisection: int) -> Tensor:
        """How many directions each image asks in this round, (rows,): all in its last one."""
        here, following = (round(self.samples * n**0.5) for n in (number, number + 1))
        rest = left - bisection - SPARE
        return torch.where(rest < here + following + bisection + SPARE, rest, here)


def estimated(
    decisions: Decisions, rows: Tensor, points: Tensor, directions: Tensor, rng: Streams
) -> Tensor:
    """Normals of size 1 at points (rows, ...) of the boundary, towards what is wrong.

    The mean of (answer - mean answer) * direction over as many random directions of size 1 as
    `directions` (rows,) says; answers are 1 or -1 at a radius of distance / numbers.
    """
    numbers = points[0].numel()
    radius = per_row(sizes(points - decisions.images[rows]) / numbers, points)[:, None]
    signed, plain = torch.zeros_like(points), torch.zeros_like(points)
    total = torch.zeros(len(rows), device=points.device)
    for first in range(0, int(directions.max()), TOGETHER):
        drawn = rng.normal((TOGETHER, *points.shape[1:])).to(points.device)
        drawn /= drawn.flatten(2).norm(dim=2).view(*drawn.shape[:2], *[1] * (points.dim() - 1))
        asked = (points[:, None] + radius * drawn).clamp_(0, 1)
        answers = decisions.ask(rows, asked, (directions - first).clamp_min(0))
        moved = (asked - points[:, None]) / radius.clamp_min(1e-12)
        signed += (per_row(answers, moved) * moved).sum(dim=1)
        plain += (per_row(answers.abs(), moved) * moved).sum(dim=1)
        total += answers.sum(dim=1)
    mean = total / directions
    mean = torch.where(mean.abs() == 1, 0.0, mean)  # all alike: towards or away from all of them
    return ascent(signed - per_row(mean, plain) * plain, points, "l2")


def stepped(
    decisions: Decisions, rows: Tensor, points: Tensor, normal: Tensor, number: int
) -> Tensor:
    """Points (rows, ...) moved along the normals by distance / sqrt(round), halved until wrong."""
    stride = sizes(points - decisions.images[rows]) / number**0.5
    moved, waiting = points.clone(), torch.ones_like(rows, dtype=torch.bool)
    for _ in range(HALVINGS):
        places = (waiting & decisions.working(rows)).nonzero().flatten()
        if not len(places):
            break
        step = per_row(stride[places], normal) * normal[places]
        there = (points[places] + step).clamp_(0, 1)
        wrong = decisions.wrong(rows[places], there)
        moved[places[wrong]] = there[wrong]
        waiting[places[wrong]] = False
        stride /= 2
    return moved
