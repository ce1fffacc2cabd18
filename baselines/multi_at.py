"""Adversarial training against several attacks at once (Tramer & Boneh 2019).

With x_k the images under attack k of the pool and l_k their losses,

    average   min_theta E mean_k l_k
    worst     min_theta E max_k l_k, the maximum taken for each image
    random    min_theta E l_k, k drawn anew for each batch (SAT, Madaan et al. 2021)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from baselines import DEFENSES
from baselines.training.attack_pool import POOL, pool
from baselines.training.ledger import Ledger
from baselines.training.loop import Loss
from baselines.training.loss_defense import ByLoss
from benchmark.core.schema import About
from benchmark.core.types import Attack, Batch


@DEFENSES.register
@dataclass(frozen=True)
class MultiTraining(ByLoss):
    """Adversarial training on a pool of attacks: their average, the worst, or one at random.

    `random` costs one attack per batch, the others all of them: compare at equal `passes`.
    """

    name: ClassVar[str] = "multi_at"
    about: ClassVar[About] = About(
        title="Multi-AT", authors="Tramer, Boneh", year=2019,
        paper="Adversarial Training and Robustness for Multiple Perturbations",
        link="https://arxiv.org/abs/1904.13000",
        summary="training on several attacks: their average, the worst, or one at random",
    )  # fmt: skip
    epochs: int = 20
    how: Literal["average", "worst", "random"] = "average"
    attacks: str = POOL
    attack_steps: int = 7

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """The pool at the strengths of the data set."""
        return pool(self.attacks, self.attack_steps, strengths)

    def loss(self, strengths: Mapping[str, Any], ledger: Ledger, rng: torch.Generator) -> Loss:
        """See `ByLoss.loss`."""
        attacks = self.training_attacks(strengths)
        ledger.uses(*attacks)  # seen, also where chance leaves one out

        def losses(model: nn.Module, attack: Attack, batch: Batch) -> Tensor:
            images = ledger.perturb(attack, model, batch, rng).images
            return cross_entropy(model(images), batch.labels, reduction="none")

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            chosen = attacks
            if self.how == "random":
                chosen = (attacks[int(torch.randint(len(attacks), (1,), generator=rng))],)
            each = torch.stack([losses(model, attack, batch) for attack in chosen])
            return (each.amax(dim=0) if self.how == "worst" else each.mean(dim=0)).mean()

        return loss
