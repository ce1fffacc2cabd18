"""Meta-adversarial training: learn weights from which a few attacked images are enough.

Tasks T_i,adv are labelled images under one attack each (`meta_tasks`). With theta the weights,

    inner   theta_i' = theta - alpha * grad_theta L(theta, support of T_i,adv)
    outer   min_theta sum_i L(theta_i', query of T_i,adv)

(MAML, Finn et al. 2017, over attacks instead of classes; others in `meta_learning`). The query is
attacked on theta_i', the adapted weights: what counts in evaluation is what is trained for. The
inner loop is the one of `benchmark.adaptation.adapt`, written once for training and evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines import DEFENSES
from baselines.meta.loop import meta_test, meta_train
from baselines.meta.settings import MetaSettings
from baselines.meta.task_pool import attacks_of
from baselines.meta.tasks import construct_adv_task_set
from baselines.training.ledger import Ledger
from baselines.training.loop import RAMP, Loss, classification_loss, train
from baselines.training.resumable_progress import ResumableProgress
from baselines.training.schedule import Schedule
from benchmark.adaptation.adapt import inner_update
from benchmark.core.schema import About
from benchmark.core.types import Attack, Batch, Defense, Progress, Split, Trained

__all__ = ["MetaAdv", "construct_adv_task_set", "inner_update", "meta_test", "meta_train"]


@DEFENSES.register
@dataclass(frozen=True)
class MetaAdv(MetaSettings, Defense):
    """Adversarial training on the tasks' attacks to start from, then meta-training over them."""

    name: ClassVar[str] = "meta_adv"
    about: ClassVar[About] = About(
        title="Meta-adversarial training",
        summary="meta-learning over attacks: weights from which a few attacked images are enough",
    )
    warmup_epochs: int = 25
    """Of adversarial training on the attacks of the pool, where nothing else is the start."""
    warmup_lr: float = 3e-3
    start: str = ""

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """The attacks of the task pool at the strengths of the data set."""
        return attacks_of(self, strengths)

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """See `Defense.fit`. `progress` counts both parts, half each."""
        ledger, attacks = Ledger(), self.training_attacks(strengths)
        resumable = ResumableProgress.of(progress)
        later = resumable.part("meta-training", 0.0 if self.start else 0.5)
        if not self.start and later.last() is None:
            budget = self.passes // 2
            warmup = Schedule(self.warmup_epochs, self.warmup_lr, passes=budget, ramp=RAMP)
            loss = self.warmup_loss(attacks, ledger, rng)
            first = resumable.part("warm-up", 0.0, 0.5)
            train(network, train_split, loss, warmup, ledger, first, rng)
        meta_train(network, train_split, attacks, self, ledger, later, rng)
        return ledger.trained(network)

    def warmup_loss(self, attacks: Sequence[Attack], ledger: Ledger, rng: torch.Generator) -> Loss:
        """Adversarial training on an attack drawn for each batch."""

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            attack = attacks[int(torch.randint(len(attacks), (1,), generator=rng))]
            return classification_loss(model, ledger.perturb(attack, model, batch, rng))

        return loss
