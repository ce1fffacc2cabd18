"""FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018) in linf, l2 and l1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.engine.ball import BallAttack
from attacks.engine.geometry import ascent, project, random_start
from attacks.engine.losses import margin_loss
from attacks.engine.search import Search, own_loss
from benchmark.core.streams import Streams
from benchmark.core.types import Family, Goal

LossName = Literal["ce", "dlr"]


def climb(search: Search, delta: Tensor, attack: GradientAttack, steps: int) -> None:
    """`steps` projected steps from `delta` (len(images), ...), noting every iterate.

    Each image keeps its own state, so leaving out the broken ones changes no verdict.
    """
    rows = search.remaining()
    images, delta = search.images[rows], delta[rows]
    delta = project(delta, images, attack.eps, attack.norm)
    for _ in range(steps):
        if not len(rows):
            return
        gradient = search.climb(rows, (images + delta).clamp(0, 1), attack.objective)
        stay = search.leave(rows)
        if stay is not None:
            rows, images, delta, gradient = (x[stay] for x in (rows, images, delta, gradient))
        move = attack.stride * ascent(gradient, images + delta, attack.norm)
        delta = project(delta + move, images, attack.eps, attack.norm)
    if len(rows):
        search.ask(rows, (images + delta).clamp(0, 1), attack.objective)


class GradientAttack(BallAttack):
    """What `climb` needs to know of an attack."""

    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    loss: LossName

    @property
    def stride(self) -> float:
        """Size of one step in the attack's norm."""
        raise NotImplementedError

    def objective(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss it climbs, (batch,)."""
        return margin_loss(logits, labels) if self.loss == "dlr" else own_loss(logits, labels)


@dataclass(frozen=True)
class PGD(GradientAttack):
    """Projected gradient ascent from random starts; the strongest iterate is returned."""

    eps: float
    steps: int = 40
    step_size: float | None = None
    """In the attack's norm; 2.5 * eps / steps if not given, as Madry et al. suggest."""
    restarts: int = 1
    loss: LossName = "ce"

    @property
    def stride(self) -> float:
        """Size of one step in the attack's norm."""
        return self.step_size or 2.5 * self.eps / max(self.steps, 1)

    @property
    def passes(self) -> int:
        """Forward and backward for each step, and one forward for the last iterate."""
        return self.restarts * (2 * self.steps + 1)

    def search(self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal) -> Search:
        """How the model is asked for gradients."""
        return Search(model, images, labels, goal)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. Starts are drawn for the whole batch, whoever is broken already."""
        search = self.search(model, images, labels, goal)
        for _ in range(self.restarts):
            start = random_start(images, self.eps, self.norm, rng)
            climb(search, start, self, self.steps)
        return search.best


@dataclass(frozen=True)
class FGSM(GradientAttack):
    """One step of the size of the whole budget, from the image itself."""

    eps: float
    loss: LossName = "ce"

    @property
    def stride(self) -> float:
        """The whole budget."""
        return self.eps

    @property
    def passes(self) -> int:
        """One forward, one backward, one forward to look at the result."""
        return 3

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. Draws nothing from `rng`."""
        search = Search(model, images, labels, goal)
        climb(search, torch.zeros_like(images), self, 1)
        return search.best


@ATTACKS.register
@dataclass(frozen=True)
class PGDLinf(PGD):
    """PGD in linf with the cross-entropy."""

    name: ClassVar[str] = "pgd_linf"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"


@ATTACKS.register
@dataclass(frozen=True)
class PGDLinfMargin(PGDLinf):
    """PGD in linf with the margin loss, which sees through logits of great size."""

    name: ClassVar[str] = "pgd_linf_dlr"
    loss: LossName = "dlr"


@ATTACKS.register
@dataclass(frozen=True)
class PGDL2(PGD):
    """PGD in l2."""

    name: ClassVar[str] = "pgd_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"


@ATTACKS.register
@dataclass(frozen=True)
class PGDL1(PGD):
    """PGD in l1 with sparse steps."""

    name: ClassVar[str] = "pgd_l1"
    version: ClassVar[int] = 2
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"


@ATTACKS.register
@dataclass(frozen=True)
class FGSMLinf(FGSM):
    """The fast gradient sign method."""

    name: ClassVar[str] = "fgsm"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"


@ATTACKS.register
@dataclass(frozen=True)
class FGML2(FGSM):
    """The fast gradient method in l2."""

    name: ClassVar[str] = "fgm_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"


@ATTACKS.register
@dataclass(frozen=True)
class FGML1(FGSM):
    """The fast gradient method in l1: one step on the steepest coordinates."""

    name: ClassVar[str] = "fgm_l1"
    version: ClassVar[int] = 2
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"
