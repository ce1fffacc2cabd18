"""PGD adversarial training (Madry et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks.strengths import build_attack
from baselines import DEFENSES
from baselines.training import Ledger, Schedule, classification_loss, train
from benchmark.core.specs import check_numbers
from benchmark.core.types import Attack, Batch, Defense, Progress, Trained
from benchmark.data import Split


@DEFENSES.register
@dataclass(frozen=True)
class PGDTraining(Defense):
    """min_theta E max_{|delta| <= eps} L(theta, x + delta, y), the maximum found by PGD in linf."""

    name: ClassVar[str] = "pgd_at"
    epochs: int = 40
    lr: float = 3e-3
    batch_size: int = 64
    attack_steps: int = 7
    passes: int = 0
    start: str = ""

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        check_numbers(self, least=0)

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """PGD in linf at the strength of the data set."""
        return (build_attack(f"pgd_linf[steps={self.attack_steps}]", strengths),)

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """See `Defense.fit`."""
        ledger = Ledger()
        (attack,) = self.training_attacks(strengths)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            return classification_loss(model, ledger.perturb(attack, model, batch, rng))

        schedule = Schedule(self.epochs, self.lr, self.batch_size, self.passes)
        train(network, train_split, loss, schedule, ledger, progress, rng)
        return ledger.trained(network)
