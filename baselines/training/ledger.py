"""What a training really used: families of attacks, passes, images and updates."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from benchmark.core.schema import Effort
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Trained
from benchmark.evaluation.verdicts import Meter


@dataclass
class Ledger:
    """What training used: families of attacks, passes and labelled images, updates."""

    families: set[str] = field(default_factory=set)
    meter: Meter = field(default_factory=Meter)
    images: int = 0
    updates: int = 0
    probes: dict[str, float | None] = field(default_factory=dict)
    """Numbers for the record that are no cost."""
    strength: float = 1.0
    """Share of their size that attacks have by now."""
    memory: dict[str, Tensor] = field(default_factory=dict)
    """What a loss remembers from batch to batch, by name: kept in snapshots."""

    @property
    def passes(self) -> int:
        """Of images so far, forward and backward."""
        return self.meter.forwards + self.meter.backwards

    @property
    def cost(self) -> Effort:
        """All of it so far."""
        meter = self.meter
        return Effort(
            seconds=meter.seconds, forwards=meter.forwards, backwards=meter.backwards,
            images=self.images, updates=self.updates,
        )  # fmt: skip

    def update(self, images: int) -> None:
        """Book one step of the optimiser on so many labelled images."""
        self.images += images
        self.updates += 1

    def uses(self, *attacks: Attack) -> None:
        """Book the families of attacks that the loss makes by itself, or that it may draw."""
        self.families.update(attack.family for attack in attacks)

    def perturb(
        self, attack: Attack, model: nn.Module, batch: Batch, rng: torch.Generator | Streams
    ) -> Batch:
        """Attack a batch that is trained on; `model` comes back in its mode.

        The way to an attacked image in training: `trained_on` cannot drift from the truth.
        """
        self.uses(attack)
        attack = weakened(attack, self.strength)
        training = model.training
        model.eval()
        try:
            dealt = rng if isinstance(rng, Streams) else Streams.dealt(rng, len(batch.labels))
            images = attack.perturb(model, batch.images, batch.labels, "examples", dealt)
        finally:
            model.train(training)
        return Batch(images.detach(), batch.labels)

    def trained(self, model: nn.Module) -> Trained:
        """The finished model with what the ledger holds."""
        return Trained(model.eval(), frozenset(self.families), self.cost, dict(self.probes))


def weakened(attack: Attack, share: float) -> Attack:
    """The attack with `eps` and `step_size`, where it has them, at a share of what they are."""
    named = {name: getattr(attack, name, None) for name in ("eps", "step_size")}
    sizes = {name: share * size for name, size in named.items() if isinstance(size, float)}
    return replace(attack, **sizes) if share < 1 and sizes else attack  # type: ignore[type-var]
