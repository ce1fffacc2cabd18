"""Targeted FAB (Croce & Hein 2020b): the fast adaptive boundary attack, for a verdict at `eps`.

It looks for the smallest perturbation that crosses the boundary to a target class: from the point
and from the image to the boundary's linearisation at the point, a little beyond it, and back
towards the image whenever the boundary is crossed. Here only what is inside the ball counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.autoattack.hyperplane import to_hyperplane
from attacks.autoattack.stage import Stage, likeliest_wrong
from attacks.engine.search import Search, repacked
from benchmark.core.streams import Streams
from benchmark.core.types import Family

PULL = 0.1
"""The largest share of the step from the image itself (alpha_max)."""
BEYOND = 1.05
"""How far beyond the linearised boundary a step goes (eta)."""
BACK = 0.9
"""Which share of the perturbation is left after the boundary was crossed (beta)."""


class Walk(NamedTuple):
    """Where each image still in work is: all tensors (rows, ...)."""

    rows: Tensor
    targets: Tensor
    images: Tensor
    point: Tensor


def ahead(targets: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """By how much the target class leads the own, (rows,)."""
    own, target = (logits.gather(1, classes[:, None])[:, 0] for classes in (labels, targets))
    return target - own


def size(moves: Tensor, norm: str) -> Tensor:
    """Size of each move (rows, ...) in linf or l2, (rows,)."""
    flat = moves.flatten(1)
    return flat.norm(dim=1) if norm == "l2" else flat.abs().amax(dim=1)


@torch.no_grad()
def walk(search: Search, state: Walk, part: FABTargeted) -> None:
    """`part.iterations` steps along the boundary, noting what lies inside the ball."""
    for _ in range(part.iterations):
        state = repacked(state, search.leave(state.rows))
        if not len(state.rows):
            return
        found = search.slope(state.rows, state.point, partial(ahead, state.targets))
        point = stepped(state, found.loss, found.gradient, part.norm)
        move = point - state.images
        near = size(move, part.norm) <= part.eps
        logits = search.ask(state.rows, point, allowed=near)
        crossed = logits.argmax(dim=1) != search.labels[state.rows]
        left = torch.where(crossed, BACK, 1.0).view(-1, *[1] * (point.dim() - 1))
        state = state._replace(point=state.images.lerp(point, left))


def stepped(state: Walk, lead: Tensor, gradient: Tensor, norm: str) -> Tensor:
    """The next point: to the linearised boundary, and beyond, from the point and from the image."""
    points, images, weights = (x.flatten(1) for x in (state.point, state.images, gradient))
    lead_of_images = lead - torch.linalg.vecdot(weights, points - images)
    from_point = to_hyperplane(points, weights, lead, norm)
    from_image = to_hyperplane(images, weights, lead_of_images, norm)
    near, far = (size(move, norm).clamp_min_(1e-8) for move in (from_point, from_image))
    pull = (near / (near + far)).clamp_max_(PULL)[:, None]
    next_points = from_point.mul_(BEYOND).add_(points)
    from_image.mul_(BEYOND).add_(images)
    return next_points.lerp_(from_image, pull).clamp_(0, 1).view_as(state.point)


@dataclass(frozen=True)
class FABTargeted(Stage):
    """The boundary to each of the likeliest wrong classes, one after the other."""

    eps: float
    iterations: int = 100
    """For each target class; 100 is published."""
    targets: int = 9
    """9 is published; all wrong classes where there are fewer."""

    @property
    def passes(self) -> int:
        """Two forwards and a backward an iteration, and a forward to choose the targets."""
        return 3 * self.targets * self.iterations + 1

    def attack(self, search: Search, rng: Streams) -> None:
        """See `Part.attack`. Draws nothing; what one target class breaks, the next leaves alone."""
        for targets in likeliest_wrong(search, search.everyone(), self.targets).T:
            rows = search.standing()
            images = search.images[rows]
            walk(search, Walk(rows, targets[rows], images, images), self)


@ATTACKS.register
@dataclass(frozen=True)
class FABTargetedLinf(FABTargeted):
    """AutoAttack's third part, as published: targeted FAB in linf."""

    name: ClassVar[str] = "aa_fab_t"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"


@ATTACKS.register
@dataclass(frozen=True)
class FABTargetedL2(FABTargeted):
    """AutoAttack's third part, as published: targeted FAB in l2."""

    name: ClassVar[str] = "aa_fab_t_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
