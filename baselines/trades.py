"""TRADES (Zhang et al. 2019): accuracy and stability as two terms.

With p(x) the softmax of the model,

    min_theta E [ CE(p(x), y) + beta * max_{|delta|_inf <= eps} KL(p(x) || p(x + delta)) ]

The maximum is sought as in the authors' code: signed gradient steps on that divergence, from
Gaussian noise of size 0.001, the model in eval mode and p(x) fixed; the last iterate counts. The
loss lets gradients flow through both distributions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks.build import build_attack
from attacks.engine.geometry import project
from attacks.gradient import PGDLinf
from baselines import DEFENSES
from baselines.training.ledger import Ledger
from baselines.training.loop import Loss
from baselines.training.loss_defense import ByLoss
from benchmark.core.schema import About
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Goal

NOISE = 0.001
"""Standard deviation of the start: at the image itself the divergence has no gradient."""


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """KL(p || q) of the softmax p of `clean` logits and q of `attacked` ones, (batch,)."""
    p, q = clean.log_softmax(dim=1), attacked.log_softmax(dim=1)
    return (p.exp() * (p - q)).sum(dim=1)


@dataclass(frozen=True)
class Diverging(PGDLinf):
    """PGD in linf that climbs the divergence from the clean prediction; labels are not used."""

    name: ClassVar[str] = "trades"

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`."""
        with torch.no_grad():
            clean = model(images)
        start = NOISE * rng.normal(tuple(images.shape[1:])).to(images.device)
        delta = project(start, images, self.eps, "linf")
        for _ in range(self.steps):
            moved = (images + delta).requires_grad_()
            (gradient,) = torch.autograd.grad(divergence(clean, model(moved)).sum(), moved)
            delta = project(delta + self.stride * gradient.sign(), images, self.eps, "linf")
        return (images + delta).clamp(0, 1)


@DEFENSES.register
@dataclass(frozen=True)
class Trades(ByLoss):
    """Cross-entropy on clean images plus `beta` times the divergence under attack in linf."""

    name: ClassVar[str] = "trades"
    about: ClassVar[About] = About(
        title="TRADES", authors="Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan", year=2019,
        paper="Theoretically Principled Trade-off between Robustness and Accuracy",
        link="https://arxiv.org/abs/1901.08573",
        summary="cross-entropy on clean images plus the divergence under attack",
    )  # fmt: skip
    epochs: int = 36
    attack_steps: int = 7
    beta: float = 6.0

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """The search for the divergence, at the strength of the data set in linf."""
        pgd = build_attack(f"pgd_linf[steps={self.attack_steps}]", strengths)
        assert isinstance(pgd, PGDLinf)
        return (Diverging(pgd.eps, pgd.steps),)

    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """See `ByLoss.loss`."""
        (attack,) = self.training_attacks(strengths)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            attacked = ledger.perturb(attack, model, batch, rng)
            clean = model(batch.images)
            apart = divergence(clean, model(attacked.images)).mean()
            return cross_entropy(clean, batch.labels) + self.beta * apart

        return loss
