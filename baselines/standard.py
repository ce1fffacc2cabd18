"""Standard training: no defense at all, the row that every other one is read against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from baselines import DEFENSES
from baselines.training.ledger import Ledger
from baselines.training.loop import Loss, classification_loss
from baselines.training.loss_defense import ByLoss
from benchmark.core.schema import About


@DEFENSES.register
@dataclass(frozen=True)
class Standard(ByLoss):
    """Cross-entropy on clean images."""

    name: ClassVar[str] = "standard"
    about: ClassVar[About] = About(
        title="Standard training", summary="cross-entropy on clean images, no defense at all"
    )

    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """See `ByLoss.loss`."""
        return classification_loss
