"""Meta-adversarial training: learn weights from which a few attacked images are enough.

Tasks T_i,adv are labelled images under one attack each. With theta the weights,

    inner   theta_i' = theta - alpha * grad_theta L(theta, support of T_i,adv)
    outer   min_theta sum_i L(theta_i', query of T_i,adv)

(MAML, Finn et al. 2017, over attacks instead of classes). The query is attacked on theta_i', the
adapted weights: what counts in evaluation is what is trained for. The inner loop is the one of
`baselines.adaptation`, written once for training and evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.strengths import build_attack
from baselines import DEFENSES
from baselines.adaptation import (
    adapt,
    inner_loop,
    inner_update,
    task_loss,
    with_parameters,
)
from baselines.stacked import Parameters
from baselines.training import Ledger, Schedule, classification_loss, descend, train
from benchmark.core.records import Budget
from benchmark.core.specs import Spec, check_numbers, options_of
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Defense, Progress, Trained
from benchmark.data import Split, balanced
from benchmark.evaluation import Meter, frozen, metered, survives

__all__ = ["MetaAdv", "construct_adv_task_set", "inner_update", "meta_test", "meta_train"]


class Task(NamedTuple):
    """T_i,adv: what is adapted on, and what is scored after it, not attacked yet."""

    attack: Attack
    support: Batch
    query: Batch


class MetaSettings(NamedTuple):
    """The numbers of meta-training."""

    iterations: int
    tasks: int
    shots: int
    query: int
    inner_steps: int
    inner_lr: float
    outer_lr: float
    first_order: bool
    clean_weight: float


def construct_adv_task_set(
    model: nn.Module, data: Split, attacks: Sequence[Attack], settings: MetaSettings,
    ledger: Ledger, rng: torch.Generator,
) -> list[Task]:  # fmt: skip
    """`settings.tasks` tasks, each an attack drawn from `attacks` and images drawn by class.

    `shots` images per class to adapt on, attacked on `model` as it is now, and `query` others per
    class, clean.
    """
    device, classes = next(model.parameters()).device, int(data.labels.max()) + 1
    tasks = []
    for _ in range(settings.tasks):
        attack = attacks[int(torch.randint(len(attacks), (1,), generator=rng))]
        drawn = balanced(data.labels, settings.shots + settings.query, classes, rng)
        cut = settings.shots * classes
        support = ledger.perturb(attack, model, data.batch(drawn[:cut]).to(device), rng)
        tasks.append(Task(attack, support, data.batch(drawn[cut:]).to(device)))
    return tasks


def outer_loss(
    model: nn.Module, task: Task, settings: MetaSettings, ledger: Ledger, rng: torch.Generator
) -> Tensor:
    """L(theta_i', query under the attack on theta_i') + clean_weight * L(theta_i', clean query)."""
    start: Parameters = dict(model.named_parameters())
    adapted = inner_loop(
        model, start, lambda _: task.support,
        settings.inner_steps, settings.inner_lr, settings.first_order,
    )  # fmt: skip
    target = frozen(with_parameters(model, adapted))
    query = ledger.perturb(task.attack, target, task.query, rng)
    loss = task_loss(model, adapted, query)
    return loss + settings.clean_weight * task_loss(model, adapted, task.query)


def meta_train(
    model: nn.Module, data: Split, attacks: Sequence[Attack], settings: MetaSettings,
    ledger: Ledger, progress: Progress, rng: torch.Generator,
) -> None:  # fmt: skip
    """min_theta sum_i L(theta_i', T_i,adv) with Adam, the learning rate falling along a cosine.

    The model is kept in eval mode: running statistics are state that a pure inner loop may not
    write, so a network that has them uses those it got before (`warmup_epochs`).
    """
    model.eval()
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.outer_lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(settings.iterations, 1))
    for iteration in range(settings.iterations):
        with metered(model, ledger.meter):
            tasks = construct_adv_task_set(model, data, attacks, settings, ledger, rng)
            losses = [outer_loss(model, task, settings, ledger, rng) for task in tasks]
            descend(torch.stack(losses).mean(), optimizer, f"meta-iteration {iteration + 1}")
        scheduler.step()
        progress((iteration + 1) / settings.iterations)


def meta_test(
    model: nn.Module, attack: Attack, shown: Batch, query: Batch, budget: Budget,
    rng: torch.Generator,
) -> float:  # fmt: skip
    """Adapt to a new attack by the inner update, attack the adapted model, return its accuracy."""
    adapted = adapt(frozen(model), budget, lambda _: shown)
    dealt = Streams.dealt(rng, len(query.labels))
    verdicts, _ = survives(attack, adapted.model, query, Meter(), dealt)
    return float(verdicts.float().mean())


@DEFENSES.register
@dataclass(frozen=True)
class MetaAdv(Defense):
    """Adversarial training on the tasks' attacks to start from, then meta-training over them."""

    name: ClassVar[str] = "meta_adv"
    attacks: str = "pgd_linf+pgd_l2"
    """Attacks the tasks are made of, joined by `+`; their families count as seen."""
    attack_steps: int = 7
    warmup_epochs: int = 25
    warmup_lr: float = 3e-3
    iterations: int = 120
    tasks: int = 2
    shots: int = 5
    query: int = 5
    inner_steps: int = 3
    inner_lr: float = 0.02
    outer_lr: float = 1e-3
    first_order: bool = False
    clean_weight: float = 0.5
    start: str = ""

    def __post_init__(self) -> None:
        """Refuse negative numbers."""
        check_numbers(self, least=0)

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """The attacks of the task pool at the strengths of the data set."""
        return tuple(
            build_attack(Spec(name, self._short(name)), strengths)
            for name in self.attacks.split("+")
        )

    def _short(self, name: str) -> tuple[tuple[str, str], ...]:
        iterative = "steps" in options_of(ATTACKS.get(name))
        return (("steps", str(self.attack_steps)),) if iterative else ()

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """See `Defense.fit`. `progress` counts both parts, half each."""
        ledger, attacks = Ledger(), self.training_attacks(strengths)
        warmup = Schedule(self.warmup_epochs, self.warmup_lr)

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            attack = attacks[int(torch.randint(len(attacks), (1,), generator=rng))]
            return classification_loss(model, ledger.perturb(attack, model, batch, rng))

        train(network, train_split, loss, warmup, ledger, lambda share: progress(share / 2), rng)
        settings = MetaSettings(
            self.iterations, self.tasks, self.shots, self.query, self.inner_steps, self.inner_lr,
            self.outer_lr, self.first_order, self.clean_weight,
        )  # fmt: skip
        meta_train(
            network, train_split, attacks, settings, ledger,
            lambda share: progress((1 + share) / 2), rng,
        )  # fmt: skip
        return ledger.trained(network)
