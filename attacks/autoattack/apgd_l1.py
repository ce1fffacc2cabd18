"""Auto-PGD in l1 (Croce & Hein 2021, "Mind the box", arXiv 2103.01208): sparse steps.

A step goes along the steepest coordinates alone, each by the same amount, and back onto the
intersection of ball and box. How many coordinates follows from how many the best point so far has
moved. The first steps are made in larger balls, which are easier, and lead to where the best points
of the ball itself are.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from attacks.autoattack.apgd import APGD, Objective
from attacks.engine.geometry import project
from attacks.engine.search import Search, overwrite, repacked

BALLS = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))
"""Radii in eps, and the share of the steps made in each."""
LOOK = 0.04
"""After each such share of the steps in a ball, sparsity and step size are chosen anew."""
SPARSER = 1.5
"""A step has so many times fewer coordinates than the best point has moved."""
CLEARLY = 0.95
"""Where the best point moved fewer coordinates than this share of before, the step starts anew."""
SHORTER, LEAST = 1.5, 0.1
"""Else it is divided by the one, down to the other (in radii)."""


class SparseClimb(NamedTuple):
    """Where each image still in work is: all tensors (rows, ...)."""

    rows: Tensor
    targets: Tensor
    images: Tensor
    delta: Tensor
    gradient: Tensor
    best: Tensor
    """The perturbation of the highest loss so far."""
    best_gradient: Tensor
    best_loss: Tensor
    step: Tensor
    """In l1, (rows,)."""
    moved: Tensor
    """Coordinates that the best point had moved when it was last looked at: int64 (rows,)."""


def balls(iterations: int) -> list[tuple[float, int]]:
    """Radii, in eps, and how many steps are made in each.

    >>> balls(100), balls(1)
    ([(3.0, 30), (2.0, 30), (1.0, 40)], [(1.0, 1)])
    """
    wider = [(radius, int(share * iterations)) for radius, share in BALLS[:-1]]
    left = iterations - sum(steps for _, steps in wider)
    return [*(ball for ball in wider if ball[1]), (BALLS[-1][0], left)]


def climb_l1(
    search: Search, rows: Tensor, start: Tensor, targets: Tensor, objective: Objective, part: APGD
) -> None:
    """`part.iterations` steps for `rows` from `start` (rows, ...), ball after ball."""
    for radius, steps in balls(part.iterations):
        state = begin(search, rows, start, targets, objective, radius * part.eps)
        inside = radius == 1
        state = climb_ball(search, state, objective, radius * part.eps, steps, inside)
        start = state.images + state.best


@torch.no_grad()
def begin(
    search: Search, rows: Tensor, start: Tensor, targets: Tensor, objective: Objective, eps: float
) -> SparseClimb:
    """The state at `start` (rows, ...), put into the ball of radius `eps`."""
    images = search.images[rows]
    delta = project(start - images, images, eps, "l1")
    found = search.slope(rows, (images + delta).clamp(0, 1), partial(objective, targets))
    step = torch.full_like(found.loss, eps)
    return SparseClimb(
        rows, targets, images, delta, found.gradient, delta.clone(), found.gradient.clone(),
        found.loss, step, moved_by(delta),
    )  # fmt: skip


@torch.no_grad()
def climb_ball(
    search: Search, state: SparseClimb, objective: Objective, eps: float, steps: int, inside: bool
) -> SparseClimb:
    """Steps in the ball of radius `eps`; what is met counts where that is `inside` the threat."""
    look = max(int(LOOK * steps), 1)
    for made in range(1, steps + 1):
        state = repacked(state, search.leave(state.rows))
        if not len(state.rows):
            break
        step = state.step.view(-1, *[1] * (state.delta.dim() - 1))
        delta = state.delta + step * steepest(state.gradient, kept(state.moved))
        state = state._replace(delta=project(delta, state.images, eps, "l1"))
        state = _looked(search, state, objective, inside)
        if made % look == 0:
            state = _chosen(state, eps)
    return state


def moved_by(delta: Tensor) -> Tensor:
    """How many numbers of a perturbation (rows, ...) are not 0: int64 (rows,)."""
    return (delta != 0).flatten(1).sum(dim=1)


def kept(moved: Tensor) -> Tensor:
    """How many coordinates the next steps go along, int64 (rows,)."""
    return (moved / SPARSER).ceil().long().clamp_min(1)


def steepest(gradient: Tensor, count: Tensor) -> Tensor:
    """The step of l1 size 1, in equal parts, along the `count` (rows,) steepest coordinates."""
    sizes = gradient.flatten(1).abs()
    edge = sizes.sort(dim=1, descending=True).values.gather(1, count[:, None] - 1)
    step = gradient.flatten(1).sign() * (sizes >= edge)
    return (step / step.abs().sum(dim=1, keepdim=True).clamp_min(1)).view_as(gradient)


def _looked(search: Search, state: SparseClimb, objective: Objective, inside: bool) -> SparseClimb:
    """Ask about the point, and keep it where the loss is the highest so far."""
    point = (state.images + state.delta).clamp_(0, 1)
    found = search.slope(state.rows, point, partial(objective, state.targets))
    if inside:
        search.note(state.rows, point, found.logits)
    higher = found.loss > state.best_loss
    overwrite(state.best, state.delta, higher)
    overwrite(state.best_gradient, found.gradient, higher)
    overwrite(state.best_loss, found.loss, higher)
    return state._replace(gradient=found.gradient)


def _chosen(state: SparseClimb, eps: float) -> SparseClimb:
    """Choose sparsity and step size; where points became sparser, go back to the best one."""
    moved = moved_by(state.best)
    sparser = moved < CLEARLY * state.moved
    step = torch.where(sparser, eps, (state.step / SHORTER).clamp_min(LEAST * eps))
    overwrite(state.delta, state.best, sparser)
    overwrite(state.gradient, state.best_gradient, sparser)
    return state._replace(step=step, moved=moved)
