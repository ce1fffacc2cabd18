"""Defenses that are a loss: all else about their training is the same for all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from attacks.build import build_attack
from baselines.training.ledger import Ledger
from baselines.training.loop import RAMP, Loss, train
from baselines.training.resumable_progress import ResumableProgress
from baselines.training.schedule import Schedule
from benchmark.core.types import Attack, Defense, Progress, Split, Trained

PGD, PGD_FAMILY = "pgd_linf[steps=10]", "linf-gradient"
"""What early stopping looks at where training attacks in linf."""


@dataclass(frozen=True)
class ByLoss(Schedule, Defense):
    """Minimise `loss`; `passes`, where given, takes the place of `epochs`."""

    start: str = ""
    ramp: float = RAMP

    @abstractmethod
    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """What is minimised; whatever attacks in it is booked on the ledger."""

    def watched(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """What early stopping looks at: the attacks that are trained on.

        In linf it is PGD, whatever is trained on: a single step would not see that training has
        learnt to fool single steps alone.
        """
        used = self.training_attacks(strengths) or ()
        others = [attack for attack in used if attack.family != PGD_FAMILY]
        pgd = [build_attack(PGD, strengths)] if len(others) < len(used) else []
        return (*pgd, *others)

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """See `Defense.fit`."""
        ledger = Ledger()
        loss = self.loss(strengths, ledger, rng)
        resumable = ResumableProgress.of(progress).part("training")
        watched = self.watched(strengths) if self.early_stopping else ()
        train(network, train_split, loss, self, ledger, resumable, rng, watched)
        return ledger.trained(network)
