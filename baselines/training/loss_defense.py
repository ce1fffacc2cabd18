"""Defenses that are a loss: all else about their training is the same for all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from baselines.training.ledger import Ledger
from baselines.training.loop import RAMP, Loss, Schedule, train
from baselines.training.resumable_progress import ResumableProgress
from benchmark.core.errors import UsageError
from benchmark.core.specs import check_numbers
from benchmark.core.types import Defense, Progress, Split, Trained


@dataclass(frozen=True)
class ByLoss(Defense):
    """Minimise `loss` by Adam; `passes`, where given, takes the place of `epochs`."""

    epochs: int = 40
    lr: float = 3e-3
    batch_size: int = 64
    passes: int = 0
    """Budget of image passes, forward and backward; what `start` took comes on top."""
    start: str = ""
    ramp: float = RAMP
    """Share of training over which attacks grow to their full size."""

    def __post_init__(self) -> None:
        """Refuse negative numbers and empty batches."""
        check_numbers(self, least=0)
        if self.batch_size < 1:
            raise UsageError(f"{self.name}[batch_size={self.batch_size}]: expected at least 1")

    @abstractmethod
    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """What is minimised; whatever attacks in it is booked on the ledger."""

    def schedule(self) -> Schedule:
        """How long and how fast."""
        return Schedule(self.epochs, self.lr, self.batch_size, self.passes, ramp=self.ramp)

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """See `Defense.fit`."""
        ledger = Ledger()
        loss = self.loss(strengths, ledger, rng)
        resumable = ResumableProgress.of(progress).part("training")
        train(network, train_split, loss, self.schedule(), ledger, resumable, rng)
        return ledger.trained(network)
