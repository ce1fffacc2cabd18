"""Free adversarial training (Shafahi et al. 2019): one backward pass serves weights and images.

Each batch is replayed m times. One replay, with the perturbation delta kept from the one before
(and from batch to batch):

    (g_theta, g_delta) = grad L(theta, x + delta, y)
    theta <- step along -g_theta,    delta <- clip(delta + eps sign(g_delta), -eps, eps)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks.gradient import FGSMLinf
from attacks.strengths import build_attack
from baselines import DEFENSES
from baselines.by_loss import ByLoss
from baselines.training import Ledger, Loss, Schedule
from benchmark.core.types import Attack, Batch


class Replay:
    """The loss of one replay; the gradient of its backward pass moves the next one's delta."""

    def __init__(self, eps: float, ledger: Ledger) -> None:
        self.full, self.ledger = eps, ledger
        self.noise: Tensor | None = None
        """The delta of the largest batch so far: of a smaller one the first rows."""
        self.used: Tensor | None = None

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """See `baselines.training.Loss`."""
        self.used = self._moved(batch.images).requires_grad_()
        return cross_entropy(model((batch.images + self.used).clamp(0, 1)), batch.labels)

    @torch.no_grad()
    def _moved(self, images: Tensor) -> Tensor:
        """The delta (len(images), ...) after the step that the last backward pass asks for."""
        if self.noise is None or len(self.noise) < len(images):
            self.noise = torch.zeros_like(images)
        if self.used is not None and self.used.grad is not None:
            eps = self.full * self.ledger.strength
            step = self.used + eps * self.used.grad.sign()
            self.noise[: len(step)] = step.clamp(-eps, eps)
        return self.noise[: len(images)].clone()


@DEFENSES.register
@dataclass(frozen=True)
class FreeTraining(ByLoss):
    """Adversarial training in linf, each batch `replays` times with one backward pass each."""

    name: ClassVar[str] = "free"
    epochs: int = 42
    replays: int = 8

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """FGSM: a step of eps, repeated while the weights move."""
        return (build_attack("fgsm", strengths),)

    def schedule(self) -> Schedule:
        """See `ByLoss.schedule`."""
        return replace(super().schedule(), replays=max(self.replays, 1))

    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """See `ByLoss.loss`."""
        (attack,) = self.training_attacks(strengths)
        assert isinstance(attack, FGSMLinf)
        ledger.uses(attack)
        return Replay(attack.eps, ledger)
