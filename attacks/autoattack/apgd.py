"""Auto-PGD (Croce & Hein 2020): projected gradient ascent that chooses its own step size.

Every image has its own. At a few checkpoints the step of an image is halved, and it goes back to
the best point so far, if the loss rose too seldom since the last one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.autoattack.stage import Stage, likeliest_wrong
from attacks.engine.geometry import ascent
from attacks.engine.search import Search, overwrite, own_loss, repacked
from benchmark.core.streams import Streams
from benchmark.core.types import Family

RISES = 0.75
"""The step stays if the loss rose in more than this share of the iterations (rho)."""
FORWARD = 0.75
"""Share of a new step; the rest is the step before, as momentum (alpha)."""
TINY = 1e-12

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Target classes (rows,), logits (rows, classes), labels in; a loss (rows,) to climb out."""


def checkpoints(iterations: int) -> list[int]:
    """After how many iterations the step sizes are looked at.

    >>> checkpoints(100)
    [22, 41, 57, 70, 80, 87, 93, 99]
    """
    stretch, shorter, least = (max(int(part * iterations), 1) for part in (0.22, 0.03, 0.06))
    found = [stretch]
    while found[-1] < iterations:
        stretch = max(stretch - shorter, least)
        found.append(found[-1] + stretch)
    return [made for made in found if made <= iterations]


def untargeted(targets: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy per image, (rows,), whatever the targets."""
    return own_loss(logits, labels)


def targeted_margin(targets: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Targeted difference of logits ratio, (rows,): (z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2).

    Fewer than four classes do not have these: there it is the difference of logits as it is.
    """
    own, target = (logits.gather(1, classes[:, None])[:, 0] for classes in (labels, targets))
    if logits.shape[1] < 4:
        return target - own
    largest = logits.topk(4, dim=1).values
    return (target - own) / (largest[:, 0] - (largest[:, 2] + largest[:, 3]) / 2 + TINY)


class Climb(NamedTuple):
    """Where each image still in work is: all tensors (rows, ...)."""

    rows: Tensor
    targets: Tensor
    images: Tensor
    low: Tensor
    high: Tensor
    """No pixel may leave [low, high]."""
    point: Tensor
    before: Tensor
    """The point before."""
    gradient: Tensor
    loss: Tensor
    step: Tensor
    best: Tensor
    best_gradient: Tensor
    best_loss: Tensor
    rises: Tensor
    """In how many iterations since the last checkpoint the loss rose."""
    checked: Tensor
    """The best loss at the last checkpoint."""
    halved: Tensor
    """Whether the step was halved there."""


@torch.no_grad()
def climb(
    search: Search, rows: Tensor, start: Tensor, targets: Tensor, objective: Objective, part: APGD
) -> None:
    """`part.iterations` steps for `rows` from `start` (rows, ...), noting every iterate."""
    state = _begin(search, rows, start, targets, objective, part)
    checks, last = checkpoints(part.iterations), 0
    for made in range(1, part.iterations + 1):
        state = repacked(state, search.leave(state.rows))
        if not len(state.rows):
            return
        state = state._replace(before=state.point, point=_moved(state, part, made == 1))
        state = _looked(search, state, objective)
        if made in checks:
            state, last = _checked(state, made - last), made


def _begin(
    search: Search, rows: Tensor, start: Tensor, targets: Tensor, objective: Objective, part: APGD
) -> Climb:
    images, size = search.images[rows], (-1, *[1] * (start.dim() - 1))
    if part.norm == "linf":
        low, high = (images - part.eps).clamp_min(0), (images + part.eps).clamp_max(1)
    else:
        low, high = torch.zeros(len(rows)).view(size), torch.ones(len(rows)).view(size)
    low, high = low.to(images), high.to(images)
    point = start.clamp(low, high)
    found = search.slope(rows, point, partial(objective, targets))
    search.note(rows, point, found.logits)
    return Climb(
        rows, targets, images, low, high, point, point, found.gradient,
        loss=torch.zeros_like(found.loss),  # the authors compare the first iterate with 0
        step=torch.full_like(found.loss, 2 * part.eps).view(size),
        best=point.clone(), best_gradient=found.gradient.clone(), best_loss=found.loss,
        rises=torch.zeros_like(rows), checked=found.loss.clone(), halved=rows >= 0,
    )  # fmt: skip


def _moved(state: Climb, part: APGD, first: bool) -> Tensor:
    """The next point: a step up, and the share of the step before that goes on."""
    step = ascent(state.gradient, state.images, part.norm)
    target = _inside(step.mul_(state.step).add_(state.point), state, part)
    if first:
        return target
    target.mul_(FORWARD).add_(state.point, alpha=2 * (1 - FORWARD))
    return _inside(target.sub_(state.before, alpha=1 - FORWARD), state, part)


def _inside(points: Tensor, state: Climb, part: APGD) -> Tensor:
    """Into the ball and the box; writes on `points`."""
    if part.norm == "l2":
        points.sub_(state.images)
        size = points.flatten(1).norm(dim=1).view_as(state.step)
        points.mul_((part.eps / size.clamp_min(TINY)).clamp_max_(1)).add_(state.images)
    return points.clamp_(state.low, state.high)


def _looked(search: Search, state: Climb, objective: Objective) -> Climb:
    """Ask about the point, and keep it where the loss is the highest so far."""
    loss = partial(objective, state.targets)
    found = search.slope(state.rows, state.point, loss)
    search.note(state.rows, state.point, found.logits)
    higher = found.loss > state.best_loss
    overwrite(state.best, state.point, higher)
    overwrite(state.best_gradient, found.gradient, higher)
    overwrite(state.best_loss, found.loss, higher)
    rises = state.rises + (found.loss > state.loss)
    return state._replace(gradient=found.gradient, loss=found.loss, rises=rises)


def _checked(state: Climb, stretch: int) -> Climb:
    """Halve steps and go back to the best point, `stretch` iterations after the last checkpoint."""
    seldom = state.rises <= RISES * stretch
    in_vain = ~state.halved & (state.checked >= state.best_loss)
    halved = seldom | in_vain
    overwrite(state.step, state.step / 2, halved)
    overwrite(state.point, state.best, halved)
    overwrite(state.gradient, state.best_gradient, halved)
    return state._replace(
        rises=torch.zeros_like(state.rises), checked=state.best_loss.clone(), halved=halved
    )


class APGD(Stage):
    """What `climb` needs to know of an attack."""

    @property
    def iterations(self) -> int:
        """Steps of one run."""
        raise NotImplementedError

    def start(self, images: Tensor, rng: Streams) -> Tensor:
        """On the edge of the ball; in linf so that one pixel is, the others uniform inside."""
        shape = tuple(images.shape[1:])
        if self.norm == "linf":
            noise = 2 * rng.uniform(shape) - 1
            size = noise.flatten(1).abs().amax(dim=1).clamp_min(TINY)
            noise /= size.view(-1, *[1] * len(shape))
        else:
            noise = ascent(rng.normal(shape), images, self.norm)
        return images + self.eps * noise.to(images.device)

    @property
    def passes(self) -> int:
        """A forward and a backward for the start and for each iteration."""
        return 2 * (self.iterations + 1)


@dataclass(frozen=True)
class APGDCrossEntropy(APGD):
    """Auto-PGD on the cross-entropy from one random start."""

    eps: float
    iterations: int = 100
    """100 is published."""

    def attack(self, search: Search, rng: Streams) -> None:
        """See `Part.attack`."""
        rows = search.standing()
        start = self.start(search.images[rows], rng.take(rows))
        climb(search, rows, start, search.labels[rows], untargeted, self)


@dataclass(frozen=True)
class APGDTargeted(APGD):
    """Auto-PGD on the targeted margin: towards the likeliest wrong classes, one after the other."""

    eps: float
    iterations: int = 100
    """For each target class; 100 is published."""
    targets: int = 9
    """9 is published; all wrong classes where there are fewer."""

    @property
    def passes(self) -> int:
        """A run for each target class, and a forward to choose them."""
        return self.targets * super().passes + 1

    def attack(self, search: Search, rng: Streams) -> None:
        """See `Part.attack`. What one target class breaks is not attacked with the next."""
        every_target = likeliest_wrong(search, search.everyone(), self.targets)
        for number, targets in enumerate(every_target.T):
            rows = search.standing()
            start = self.start(search.images[rows], rng.fork(number).take(rows))
            climb(search, rows, start, targets[rows], targeted_margin, self)


@ATTACKS.register
@dataclass(frozen=True)
class APGDCrossEntropyLinf(APGDCrossEntropy):
    """AutoAttack's first part, as published: Auto-PGD on the cross-entropy in linf."""

    name: ClassVar[str] = "aa_apgd_ce"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"


@ATTACKS.register
@dataclass(frozen=True)
class APGDCrossEntropyL2(APGDCrossEntropy):
    """AutoAttack's first part, as published: Auto-PGD on the cross-entropy in l2."""

    name: ClassVar[str] = "aa_apgd_ce_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"


@ATTACKS.register
@dataclass(frozen=True)
class APGDTargetedLinf(APGDTargeted):
    """AutoAttack's second part, as published: Auto-PGD on the targeted margin in linf."""

    name: ClassVar[str] = "aa_apgd_t"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"


@ATTACKS.register
@dataclass(frozen=True)
class APGDTargetedL2(APGDTargeted):
    """AutoAttack's second part, as published: Auto-PGD on the targeted margin in l2."""

    name: ClassVar[str] = "aa_apgd_t_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
