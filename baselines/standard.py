"""Standard training: no defense at all, the row that every other one is read against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from baselines import DEFENSES
from baselines.training import Ledger, Schedule, classification_loss, train
from benchmark.core.specs import check_numbers
from benchmark.core.types import Defense, Progress, Trained
from benchmark.data import Split


@DEFENSES.register
@dataclass(frozen=True)
class Standard(Defense):
    """Cross-entropy on clean images."""

    name: ClassVar[str] = "standard"
    epochs: int = 40
    lr: float = 3e-3
    batch_size: int = 64
    passes: int = 0
    start: str = ""

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        check_numbers(self, least=0)

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """See `Defense.fit`."""
        ledger = Ledger()
        schedule = Schedule(self.epochs, self.lr, self.batch_size, self.passes)
        train(network, train_split, classification_loss, schedule, ledger, progress, rng)
        return ledger.trained(network)
