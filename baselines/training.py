"""The one training loop: the defense gives the loss, the ledger writes down what it really used."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.core.errors import AuditError
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Progress, Trained
from benchmark.data import Split, minibatches
from benchmark.evaluation import Meter, metered

Loss = Callable[[nn.Module, Batch], Tensor]
"""The scalar to minimise, given the model in train mode and a batch."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: Adam, with a learning rate that falls to zero along a cosine."""

    epochs: int
    lr: float = 3e-3
    batch_size: int = 64


@dataclass
class Ledger:
    """What training used: families of attacks, and passes in images."""

    families: set[str] = field(default_factory=set)
    meter: Meter = field(default_factory=Meter)

    def perturb(
        self, attack: Attack, model: nn.Module, batch: Batch, rng: torch.Generator
    ) -> Batch:
        """Attack a batch that is trained on; `model` comes back in its mode.

        The only way to an attacked image in training: `trained_on` cannot drift from the truth.
        """
        self.families.add(attack.family)
        training = model.training
        model.eval()
        try:
            dealt = Streams.dealt(rng, len(batch.labels))
            images = attack.perturb(model, batch.images, batch.labels, "examples", dealt)
        finally:
            model.train(training)
        return Batch(images.detach(), batch.labels)

    def trained(self, model: nn.Module) -> Trained:
        """The finished model with what the ledger holds."""
        passes = self.meter.forwards + self.meter.backwards
        return Trained(model.eval(), frozenset(self.families), passes)


def train(
    model: nn.Module, data: Split, loss: Loss, schedule: Schedule, ledger: Ledger,
    progress: Progress, rng: torch.Generator,
) -> None:  # fmt: skip
    """Minimise `loss` over `schedule.epochs` epochs of `data`; leaves the model in train mode.

    Raises:
        AuditError: the loss is not finite; says at which epoch.
    """
    device = next(model.parameters()).device
    updates = schedule.epochs * math.ceil(len(data) / schedule.batch_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=schedule.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(updates, 1))
    model.train()
    for epoch in range(schedule.epochs):
        for batch in minibatches(data, schedule.batch_size, rng):
            with metered(model, ledger.meter):
                value = loss(model, batch.to(device))
                descend(value, optimizer, f"epoch {epoch + 1}")
            scheduler.step()
        progress((epoch + 1) / schedule.epochs)


def descend(value: Tensor, optimizer: torch.optim.Optimizer, when: str) -> None:
    """One optimiser step down `value`; AuditError saying `when` if it is not finite."""
    if not value.isfinite():
        raise AuditError(
            f"training diverged: the loss is {value.item()} at {when}; try a lower learning rate"
        )
    optimizer.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def classification_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy."""
    return cross_entropy(model(batch.images), batch.labels)
