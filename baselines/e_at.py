"""E-AT (Croce & Hein 2022): a robust model, fine-tuned for a few epochs to a union of threats.

Each batch meets one attack of the pool, drawn with probability

    P_k proportional to 1 - (running robust accuracy under attack k)

so that what is broken most is trained on most. The accuracies are those of the training batches:
they cost nothing. The paper trains on linf and l1 (`attacks=pgd_linf+pgd_l1`), from a model robust
in one of them, and counts on l2 to follow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from baselines import DEFENSES
from baselines.training.attack_pool import POOL, pool
from baselines.training.ledger import Ledger
from baselines.training.loop import Loss
from baselines.training.loss_defense import ByLoss
from benchmark.core.errors import UsageError
from benchmark.core.schema import About
from benchmark.core.types import Attack, Batch


class RobustErrors:
    """Running robust error of each attack: all 1 at first, hence equal chances."""

    def __init__(self, attacks: int, memory: float, ledger: Ledger) -> None:
        """`memory`: weight of the past when a batch comes in, in [0, 1]; the ledger keeps them."""
        self.memory, self.ledger = memory, ledger
        ledger.memory["robust errors"] = torch.ones(attacks)

    @property
    def errors(self) -> Tensor:
        """float32 (attacks,)."""
        return self.ledger.memory["robust errors"]

    def chances(self) -> Tensor:
        """Probability of each attack, float32 (attacks,); equal where none breaks anything."""
        total = self.errors.sum()
        if total <= 0:
            return torch.full_like(self.errors, 1 / len(self.errors))
        return self.errors / total

    def draw(self, rng: torch.Generator) -> int:
        """Which attack the next batch meets."""
        return int(torch.multinomial(self.chances(), 1, generator=rng))

    def note(self, attack: int, wrong: Tensor) -> None:
        """Which images of a batch, bool (batch,), were misclassified under an attack."""
        share = float(wrong.float().mean())
        self.errors[attack] = self.memory * self.errors[attack] + (1 - self.memory) * share


@DEFENSES.register
@dataclass(frozen=True)
class EATraining(ByLoss):
    """Fine-tuning of a robust model on a pool of attacks, the most harmful drawn most often."""

    name: ClassVar[str] = "e_at"
    about: ClassVar[About] = About(
        title="E-AT", authors="Croce, Hein", year=2022,
        paper="Adversarial Robustness against Multiple and Single lp-Threat Models via Quick "
        "Fine-Tuning of Robust Classifiers",
        link="https://arxiv.org/abs/2105.12508",
        summary="a robust model fine-tuned to several threats, the most harmful drawn most often",
    )  # fmt: skip
    epochs: int = 3
    lr: float = 1e-3
    start: str = "pgd_at"
    ramp: float = 0.0
    attacks: str = POOL
    attack_steps: int = 7
    memory: float = 0.9

    def __post_init__(self) -> None:
        """Refuse a weight of the past above 1."""
        super().__post_init__()
        if self.memory > 1:
            raise UsageError(f"{self.name}[memory={self.memory:g}]: expected a weight up to 1")

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """The pool at the strengths of the data set."""
        return pool(self.attacks, self.attack_steps, strengths)

    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """See `ByLoss.loss`."""
        attacks = self.training_attacks(strengths)
        ledger.uses(*attacks)  # seen, also where chance leaves one out
        running = RobustErrors(len(attacks), self.memory, ledger)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            chosen = running.draw(rng)
            attacked = ledger.perturb(attacks[chosen], model, batch, rng)
            logits = model(attacked.images)
            running.note(chosen, logits.detach().argmax(dim=1) != batch.labels)
            return cross_entropy(logits, batch.labels)

        return loss
