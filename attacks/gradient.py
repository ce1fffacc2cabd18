"""FGSM (Goodfellow et al. 2015) and PGD (Madry et al. 2018) in linf, l2 and l1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks import ATTACKS
from attacks.geometry import ascent, project, random_start
from attacks.search import Search
from benchmark.core.specs import check_numbers
from benchmark.core.types import Attack, Family, Goal, NormBall

Loss = Literal["ce", "dlr"]


def margin_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio, (batch,): invariant to the scale of the logits.

    -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), with z_(k) the k-th largest logit (Croce & Hein
    2020). Needs 3 classes. Where the cross-entropy of a model with huge logits has no gradient
    left, this one still has.
    """
    ordered, order = logits.sort(dim=1, descending=True)
    own = logits.gather(1, labels[:, None]).squeeze(1)
    first = order[:, 0] == labels
    other = torch.where(first, ordered[:, 1], ordered[:, 0])
    return (other - own) / (ordered[:, 0] - ordered[:, 2]).clamp_min(1e-12)


def attack_loss(logits: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """The loss an attack climbs, (batch,)."""
    if loss == "dlr":
        return margin_loss(logits, labels)
    return cross_entropy(logits, labels, reduction="none")


def climb(
    model: nn.Module, search: Search, delta: Tensor, attack: GradientAttack, steps: int, goal: Goal
) -> None:
    """`steps` projected steps from `delta` (len(images), ...), noting every iterate.

    Each image keeps its own state, so leaving out the broken ones changes no verdict.
    """
    active = search.remaining(goal)
    images, labels = search.images[active], search.labels[active]
    delta = project(delta[active], images, attack.eps, attack.norm)
    for step in range(steps + 1):
        if not len(active):
            return
        last = step == steps
        proposals = (images + delta).clamp(0, 1).requires_grad_(not last)
        with torch.set_grad_enabled(not last):
            logits = model(proposals)
            loss = attack_loss(logits, labels, attack.loss)
        wrong = logits.detach().argmax(dim=1) != labels
        search.note(active, proposals.detach(), loss.detach(), wrong)
        if last:
            return
        (gradient,) = torch.autograd.grad(loss.sum(), proposals)
        if goal == "verdict":
            keep = ~wrong
            active, images, labels = active[keep], images[keep], labels[keep]
            delta, gradient = delta[keep], gradient[keep]
        move = attack.stride * ascent(gradient, images + delta, attack.norm)
        delta = project(delta + move, images, attack.eps, attack.norm)


class GradientAttack(Attack):
    """What `climb` needs to know of an attack."""

    eps: float
    loss: Loss

    def __post_init__(self) -> None:
        """Refuse what would attack nothing, such as 0 restarts: it would read as robustness."""
        check_numbers(self, least=1)

    @property
    def stride(self) -> float:
        """Size of one step in the attack's norm."""
        raise NotImplementedError

    @property
    def threat(self) -> NormBall:
        """The ball of radius `eps`."""
        return NormBall(self.norm, self.eps)

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """The margin loss looks at the third largest logit."""
        return "the dlr loss needs 3 classes" if self.loss == "dlr" and classes < 3 else None


@dataclass(frozen=True)
class PGD(GradientAttack):
    """Projected gradient ascent from random starts; the strongest iterate is returned."""

    eps: float
    steps: int = 40
    step_size: float | None = None
    """In the attack's norm; 2.5 * eps / steps if not given, as Madry et al. suggest."""
    restarts: int = 1
    loss: Loss = "ce"

    @property
    def stride(self) -> float:
        """Size of one step in the attack's norm."""
        return self.step_size or 2.5 * self.eps / max(self.steps, 1)

    @property
    def passes(self) -> int:
        """Forward and backward for each step, and one forward for the last iterate."""
        return self.restarts * (2 * self.steps + 1)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: torch.Generator
    ) -> Tensor:
        """See `Attack.perturb`. Starts are drawn for the whole batch, whoever is broken already."""
        search = Search(images, labels)
        for _ in range(self.restarts):
            start = random_start(images, self.eps, self.norm, rng)
            climb(model, search, start, self, self.steps, goal)
        return search.best


@dataclass(frozen=True)
class FGSM(GradientAttack):
    """One step of the size of the whole budget, from the image itself."""

    eps: float
    loss: Loss = "ce"

    @property
    def stride(self) -> float:
        """The whole budget."""
        return self.eps

    @property
    def passes(self) -> int:
        """One forward, one backward, one forward to look at the result."""
        return 3

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: torch.Generator
    ) -> Tensor:
        """See `Attack.perturb`. Draws nothing from `rng`."""
        search = Search(images, labels)
        climb(model, search, torch.zeros_like(images), self, 1, goal)
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
    loss: Loss = "dlr"


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
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"
