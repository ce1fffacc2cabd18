"""Free adversarial training (Shafahi et al. 2019): one backward pass serves weights and images.

Each batch is replayed m times. One replay, with the perturbation delta kept from the one before
(and from batch to batch):

    (g_theta, g_delta) = grad L(theta, x + delta, y)
    theta <- step along -g_theta,    delta <- clip(delta + eps sign(g_delta), -eps, eps)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks.build import build_attack
from attacks.gradient import FGSMLinf
from baselines import DEFENSES
from baselines.training.ledger import Ledger
from baselines.training.loop import Loss
from baselines.training.loss_defense import ByLoss
from benchmark.core.schema import About
from benchmark.core.types import Attack, Batch


class Replay:
    """The loss of one replay; its backward pass moves the delta that the next one starts with."""

    def __init__(self, eps: float, ledger: Ledger) -> None:
        """The ledger keeps the delta of the largest batch: of a smaller one the first rows."""
        self.full, self.ledger = eps, ledger

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """See `baselines.training.loop.Loss`."""
        start = self._delta(batch.images)
        delta = start.clone().requires_grad_()
        delta.register_hook(lambda gradient: self._move(start, gradient))  # type: ignore[no-untyped-call]
        return cross_entropy(model((batch.images + delta).clamp(0, 1)), batch.labels)

    def _delta(self, images: Tensor) -> Tensor:
        """Of as many images, by now: 0 where there was none."""
        kept = self.ledger.memory.get("delta", images[:0]).to(images.device)
        missing = max(0, len(images) - len(kept))
        self.ledger.memory["delta"] = torch.cat([kept, torch.zeros_like(images[:missing])])
        return self.ledger.memory["delta"][: len(images)].clone()

    def _move(self, delta: Tensor, gradient: Tensor) -> None:
        eps = self.full * self.ledger.strength
        moved = (delta + eps * gradient.sign()).clamp(-eps, eps)
        self.ledger.memory["delta"][: len(delta)] = moved


@DEFENSES.register
@dataclass(frozen=True)
class FreeTraining(ByLoss):
    """Adversarial training in linf, each batch `replays` times with one backward pass each."""

    name: ClassVar[str] = "free"
    about: ClassVar[About] = About(
        title="Free AT", year=2019,
        authors="Shafahi, Najibi, Ghiasi, Xu, Dickerson, Studer, Davis, Taylor, Goldstein",
        paper="Adversarial Training for Free!", link="https://arxiv.org/abs/1904.12843",
        summary="each batch replayed, one backward pass for weights and images",
    )  # fmt: skip
    epochs: int = 42
    replays: int = 8

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """FGSM: a step of eps, repeated while the weights move."""
        return (build_attack("fgsm", strengths),)

    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """See `ByLoss.loss`."""
        (attack,) = self.training_attacks(strengths)
        assert isinstance(attack, FGSMLinf)
        ledger.uses(attack)
        return Replay(attack.eps, ledger)
