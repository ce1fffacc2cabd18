"""Fast adversarial training (Wong, Rice & Kolter 2020, "Fast is better than free").

    delta ~ uniform(-eps, eps), then one step:  delta <- clip(delta + 1.25 eps sign(grad L), eps)

The random start is what lets a single step do; the result is trained on whatever it is worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks.build import build_attack
from attacks.engine.geometry import project, random_start
from attacks.engine.search import own_loss
from attacks.gradient import PGDLinf
from baselines import DEFENSES
from baselines.training.ledger import Ledger
from baselines.training.loop import Loss, classification_loss
from baselines.training.loss_defense import ByLoss
from benchmark.core.schema import About
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Goal


@dataclass(frozen=True)
class FastStep(PGDLinf):
    """One step from a random start in linf, without a look at the result."""

    name: ClassVar[str] = "fgsm_rs"

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`; one forward and one backward pass."""
        start = project(random_start(images, self.eps, "linf", rng), images, self.eps, "linf")
        moved = (images + start).requires_grad_()
        (gradient,) = torch.autograd.grad(own_loss(model(moved), labels).sum(), moved)
        delta = project(start + self.stride * gradient.sign(), images, self.eps, "linf")
        return (images + delta).clamp(0, 1)


@DEFENSES.register
@dataclass(frozen=True)
class FastTraining(ByLoss):
    """Adversarial training on one step of `step` * eps from a random start in linf."""

    name: ClassVar[str] = "fgsm_rs"
    about: ClassVar[About] = About(
        title="Fast AT", authors="Wong, Rice, Kolter", year=2020,
        paper="Fast is better than free: Revisiting adversarial training",
        link="https://arxiv.org/abs/2001.03994",
        summary="training on one step from a random start in linf",
    )  # fmt: skip
    epochs: int = 170
    step: float = 1.25

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """The step, at the strength of the data set in linf."""
        pgd = build_attack("pgd_linf", strengths)
        assert isinstance(pgd, PGDLinf)
        return (FastStep(pgd.eps, steps=1, step_size=self.step * pgd.eps),)

    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """See `ByLoss.loss`."""
        (attack,) = self.training_attacks(strengths)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            return classification_loss(model, ledger.perturb(attack, model, batch, rng))

        return loss
