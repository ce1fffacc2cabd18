"""Attacks that never ask the model: crafted on surrogates that the attacker trained itself.

A surrogate is a model trained on clean images of the same training set, with another seed; of the
same architecture as the target, or of another. What fools it often fools the target too (Papernot
et al. 2016, arXiv 1605.07277), so a model that only hides its gradients gains nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.engine.ball import BallAttack, known
from attacks.engine.geometry import TINY, ascent, project, random_start
from attacks.engine.search import Search, own_loss
from benchmark.core.streams import Streams
from benchmark.core.types import Family, Goal, Surrogate

SAME, OTHER = Surrogate(), Surrogate(other=True)


class Ensemble(nn.Module):
    """The mean of several models' logits."""

    def __init__(self, models: tuple[nn.Module, ...]) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        return torch.stack([model(images) for model in self.models]).mean(dim=0)


@dataclass(frozen=True)
class Transfer(BallAttack):
    """Projected gradient ascent on the surrogates' mean logits, whatever the target answers.

    With `decay` above 0 the steps have a momentum, which transfers better (MI-FGSM, Dong et al.
    2018, arXiv 1710.06081): g <- decay g + gradient / mean |gradient|, and a step along g.
    """

    family: ClassVar[Family] = "transfer"
    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    eps: float
    steps: int = 40
    decay: float = 0.0

    @property
    def passes(self) -> int:
        """Forward and backward through every surrogate for each step, and the end."""
        return len(self.surrogates) * (2 * self.steps + 1)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. For a verdict nothing can be saved: who is broken is not asked."""
        surrogate = Ensemble(known(self).surrogates)
        search = Search(surrogate, images, labels, "examples")
        rows, stride = search.everyone(), 2.5 * self.eps / self.steps
        start = random_start(images, self.eps, self.norm, rng)
        delta = project(start, images, self.eps, self.norm)
        momentum = torch.zeros_like(images)
        for _ in range(self.steps):
            gradient = search.climb(rows, (images + delta).clamp(0, 1), own_loss)
            size = gradient.abs().flatten(1).mean(dim=1).clamp_min(TINY).view(-1, 1, 1, 1)
            momentum = self.decay * momentum + gradient / size
            step = stride * ascent(momentum, images, self.norm)
            delta = project(delta + step, images, self.eps, self.norm)
        search.ask(rows, (images + delta).clamp(0, 1))
        return search.best


@ATTACKS.register
@dataclass(frozen=True)
class TransferPGD(Transfer):
    """PGD in linf on a surrogate of the same architecture."""

    name: ClassVar[str] = "transfer_pgd"
    norm: ClassVar[str] = "linf"
    surrogates: ClassVar[tuple[Surrogate, ...]] = (SAME,)


@ATTACKS.register
@dataclass(frozen=True)
class TransferPGDOther(Transfer):
    """PGD in linf on a surrogate of another architecture."""

    name: ClassVar[str] = "transfer_pgd_other"
    norm: ClassVar[str] = "linf"
    surrogates: ClassVar[tuple[Surrogate, ...]] = (OTHER,)


@ATTACKS.register
@dataclass(frozen=True)
class TransferPGDL2(Transfer):
    """PGD in l2 on a surrogate of the same architecture."""

    name: ClassVar[str] = "transfer_pgd_l2"
    norm: ClassVar[str] = "l2"
    surrogates: ClassVar[tuple[Surrogate, ...]] = (SAME,)


@ATTACKS.register
@dataclass(frozen=True)
class TransferMomentum(Transfer):
    """Steps with a momentum, in linf, on two surrogates of two architectures at once."""

    name: ClassVar[str] = "transfer_mifgsm"
    norm: ClassVar[str] = "linf"
    surrogates: ClassVar[tuple[Surrogate, ...]] = (SAME, OTHER)
    steps: int = 20
    decay: float = 1.0
