"""What the defender is shown (attacked support, as many clean images) and what looking takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmark.adaptation.adapt import Adapted, Show, with_parameters
from benchmark.core.model_batch import Parameters, wide
from benchmark.core.schema import Effort
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.data.splits import at_stage, minibatches
from benchmark.evaluation.verdicts import Meter, frozen, run_attack
from benchmark.protocol.workspace import Lab
from benchmark.results.records import Cell


class Looks:
    """A defender's `Show` that notes what each look took."""

    def __init__(self, show: Show, meter: Meter) -> None:
        """`meter`: counts the passes of the attack, where the defender runs it."""
        self.show, self.meter = show, meter
        self.noted: list[Effort] = []

    def __call__(self, parameters: Parameters) -> Batch:
        """See `Show`."""
        forwards, backwards = self.meter.forwards, self.meter.backwards
        batch = self.show(parameters)
        self.noted.append(
            Effort(
                forwards=self.meter.forwards - forwards + len(batch.labels),
                backwards=self.meter.backwards - backwards + len(batch.labels),
                images=len(batch.labels),
                updates=1,
            )
        )
        return batch

    @property
    def effort(self) -> Effort:
        """Of the inner steps: one pass each way for what is shown, and those of the attack.

        The first look is not one of them: it only tells the loss before.
        """
        return sum(self.noted[1:], Effort())


def with_effort(adapted: Sequence[Adapted], shows: Sequence[Looks]) -> list[Adapted]:
    """The adapted models with what their defenders' looks took."""
    pairs = zip(adapted, shows, strict=True)
    return [one._replace(effort=show.effort) for one, show in pairs]


def defender(
    lab: Lab, cell: Cell, index: int, meter: Meter, stage: int = 0, start: nn.Module | None = None
) -> Looks:
    """What the defender looks at in each inner step: attacked support and as many clean images.

    `captured`: the support as it was attacked once, against the model that begins to adapt.
    `simulated`: the support attacked anew in every step, against the parameters of that step.
    `clean`: the support as it is, the control that shows what the attack adds to it.

    Args:
        lab: where data, models and attacks are.
        cell: a plain one: its attack is the one that is shown.
        index: of the episode.
        meter: counts the passes of the attack.
        stage: how many attacks were shown before.
        start: the model that begins to adapt; None is the trained one.
    """
    attack, model = lab.attack(cell), lab.model(cell).network if start is None else start
    support = lab.support(cell, index, stage).batch().to(lab.place.device)
    clean = clean_images(lab, cell, index, stage)

    def streams(kind: str) -> Streams:
        rows = len(support.labels)
        return Streams.named(rows, "attack", kind, cell.attack, cell.seed, index, *at_stage(stage))

    def craft(target: nn.Module, rng: Streams) -> Tensor:
        with torch.enable_grad():
            return run_attack(attack, lab.quick(target), support, "examples", meter, rng).images

    def capture() -> Tensor:
        if start is None:
            return lab.shown(cell, index, meter)
        return craft(frozen(start), streams("shown"))

    captured: Tensor | None = None
    if cell.budget.knowledge != "simulated":
        captured = capture() if cell.budget.knowledge == "captured" else support.images
    rng = streams("simulated")

    def show(parameters: Parameters) -> Batch:
        shown = captured
        if shown is None:
            shown = craft(frozen(with_parameters(model, parameters)), rng)
        rehearsed = clean()
        return Batch(
            torch.cat([shown, rehearsed.images]), torch.cat([support.labels, rehearsed.labels])
        )

    return Looks(show, meter)


def clean_images(lab: Lab, cell: Cell, index: int, stage: int = 0) -> Callable[[], Batch]:
    """Draws of clean training images, as many as are shown: every defender has those."""
    train, size = lab.dataset(cell).train, cell.budget.shots * lab.dataset(cell).classes
    rng = stream("adapt", cell.dataset, cell.seed, index, *at_stage(stage))

    def draw() -> Batch:
        return next(iter(minibatches(train, size, rng))).to(lab.place.device)

    return draw


def distance(trained: nn.Module, parameters: Parameters) -> float:
    """||adapted - trained|| / ||trained|| over all parameters; those not named did not move."""
    before = {name: wide(tensor.detach()) for name, tensor in trained.named_parameters()}
    moved = sum(
        float((parameters[name] - before[name]).abs().square().sum()) for name in parameters
    )
    return float(
        (moved / sum(float(tensor.abs().square().sum()) for tensor in before.values())) ** 0.5
    )
