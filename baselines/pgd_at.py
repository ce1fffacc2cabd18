"""PGD adversarial training (Madry et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks.build import build_attack
from baselines import DEFENSES
from baselines.training.ledger import Ledger
from baselines.training.loop import Loss, classification_loss
from baselines.training.loss_defense import ByLoss
from benchmark.core.schema import About
from benchmark.core.types import Attack, Batch


@DEFENSES.register
@dataclass(frozen=True)
class PGDTraining(ByLoss):
    """min_theta E max_{|delta| <= eps} L(theta, x + delta, y), the maximum found by PGD in linf."""

    name: ClassVar[str] = "pgd_at"
    about: ClassVar[About] = About(
        title="PGD-AT", authors="Madry, Makelov, Schmidt, Tsipras, Vladu", year=2018,
        paper="Towards Deep Learning Models Resistant to Adversarial Attacks",
        link="https://arxiv.org/abs/1706.06083", summary="training on PGD examples in linf",
    )  # fmt: skip
    attack_steps: int = 7

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """PGD in linf at the strength of the data set."""
        return (build_attack(f"pgd_linf[steps={self.attack_steps}]", strengths),)

    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """See `ByLoss.loss`."""
        (attack,) = self.training_attacks(strengths)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            return classification_loss(model, ledger.perturb(attack, model, batch, rng))

        return loss
