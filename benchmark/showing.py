"""What the defender is shown: attacked support, and as many clean training images beside it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from baselines.adaptation import Show, with_parameters
from baselines.stacked import Parameters
from benchmark.core.records import Cell
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.data import at_stage, minibatches
from benchmark.evaluation import Meter, frozen, run_attack
from benchmark.lab import Lab


def defender(
    lab: Lab, cell: Cell, index: int, meter: Meter, stage: int = 0, start: nn.Module | None = None
) -> Show:
    """What the defender looks at in each inner step: attacked support and as many clean images.

    `captured`: the support as it was attacked once, against the model that begins to adapt.
    `simulated`: the support attacked anew in every step, against the parameters of that step.

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

    captured = capture() if cell.budget.knowledge == "captured" else None
    rng = streams("simulated")

    def show(parameters: Parameters) -> Batch:
        shown = captured
        if shown is None:
            shown = craft(frozen(with_parameters(model, parameters)), rng)
        rehearsed = clean()
        return Batch(
            torch.cat([shown, rehearsed.images]), torch.cat([support.labels, rehearsed.labels])
        )

    return show


def clean_images(lab: Lab, cell: Cell, index: int, stage: int = 0) -> Callable[[], Batch]:
    """Draws of clean training images, as many as are shown: every defender has those."""
    train, size = lab.dataset(cell).train, cell.budget.shots * lab.dataset(cell).classes
    rng = stream("adapt", cell.dataset, cell.seed, index, *at_stage(stage))

    def draw() -> Batch:
        return next(iter(minibatches(train, size, rng))).to(lab.place.device)

    return draw


def distance(trained: nn.Module, parameters: Parameters) -> float:
    """||adapted - trained|| / ||trained|| over all parameters; those not named did not move."""
    before = {name: tensor.detach().double() for name, tensor in trained.named_parameters()}
    moved = sum(float((parameters[name] - before[name]).square().sum()) for name in parameters)
    return float((moved / sum(float(tensor.square().sum()) for tensor in before.values())) ** 0.5)
