"""What the defender is shown, attacked support and as many clean images, and what that costs."""

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
from benchmark.data.splits import (
    EPISODES,
    POOL,
    Dataset,
    at_stage,
    minibatches,
    support_and_query,
)
from benchmark.evaluation.verdicts import Meter, frozen, run_attack
from benchmark.protocol.inputs import Inputs
from benchmark.results.records import Cell, Inferred

CAPTURED = "captured", "pairs"
"""Knowledge of images that were attacked once."""


class SupportView:
    """A defender's `Show` that notes what each look took."""

    inferred: Inferred | None = None

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


def with_effort(adapted: Sequence[Adapted], views: Sequence[SupportView]) -> list[Adapted]:
    """The adapted models with what their defenders' looks took."""
    pairs = zip(adapted, views, strict=True)
    return [one._replace(effort=view.effort, inferred=view.inferred) for one, view in pairs]


def captured_draws(cells: Sequence[Cell]) -> list[tuple[Cell, int]]:
    """What `craft_shown` needs for all cells of a group: their supports are attacked once."""
    shown = [cell.showing(cell.arrivals[0]) for cell in cells if cell.budget.adapts]
    captured = [cell for cell in shown if cell.budget.knowledge in CAPTURED]
    return [(cell, index) for cell in captured for index in range(cell.episodes)]


def craft_shown(
    draws: Sequence[tuple[Cell, int]], inputs: Inputs, meter: Meter
) -> list[Tensor | None]:
    """The support of each draw under attack, crafted against the trained model.

    Only for defenders that captured it: None for others. The pool of an episode is crafted once for
    all shots up to its size, and cut: its first images are the smaller supports. Its size depends
    on the cell alone, not on what else is planned. The pools of a few episodes are attacked as one
    batch: alone they are small ones.

    Args:
        draws: plain cells, whose attack is the one that is shown, and episodes.
        inputs: where data, models and attacks are.
        meter: counts the passes of the attack.
    """
    if draws[0][0].budget.knowledge not in CAPTURED:
        return [None] * len(draws)
    pools: dict[tuple[int, int], Sequence[Tensor]] = {}
    shown: list[Tensor | None] = []
    for cell, index in draws:
        size, first = pool_size(cell, inputs.data), index - index % EPISODES
        if (size, first) not in pools:
            several = range(first, min(first + EPISODES, cell.episodes))
            pools[size, first] = _craft_pools(cell, size, several, inputs, meter)
        shown.append(pools[size, first][index - first][: cell.budget.shots * inputs.data.classes])
    return shown


def pool_size(cell: Cell, data: Dataset) -> int:
    """Shots of the pool: the next of 10, 20, 40, ..., or all that the rarest class has."""
    size = POOL
    while size < cell.budget.shots:
        size *= 2
    rarest = int(data.validation.labels.bincount(minlength=data.classes).min())
    return max(cell.budget.shots, min(size, rarest))


def _craft_pools(
    cell: Cell, size: int, several: range, inputs: Inputs, meter: Meter
) -> Sequence[Tensor]:
    drawn, streams = [], []
    for episode in several:
        split = support_and_query(inputs.data, size, cell.seed, episode, cell.limit)
        drawn.append(split.support.batch())
        names = ("attack", "shown", cell.attack, cell.seed, episode)
        streams.append(Streams.named(len(drawn[-1].labels), *names))
    pools = Batch(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
    what = f"support of episodes {several[0]} to {several[-1]}"
    pools, rng = pools.to(inputs.settings.device), Streams.joined(streams)
    made = inputs.examples.craft(inputs.request(cell, what, pools, rng), meter).images
    return torch.split(made, [len(batch.labels) for batch in drawn])


def support_view(
    cell: Cell, index: int, inputs: Inputs, meter: Meter, captured: Tensor | None,
    stage: int = 0, start: nn.Module | None = None,
) -> SupportView:  # fmt: skip
    """What the defender looks at in each inner step: attacked support and as many clean images.

    `captured`: the support as it was attacked once, against the model that begins to adapt.
    `simulated`: the support attacked anew in every step, against the parameters of that step.
    `clean`: the support as it is, the control that shows what the attack adds to it.

    Args:
        cell: a plain one: its attack is the one that is shown.
        index: of the episode.
        inputs: where data, models and attacks are.
        meter: counts the passes of the attack.
        captured: the attacked support, if the defender captured it.
        stage: how many attacks were shown before.
        start: the model that begins to adapt; None is the trained one.
    """
    support = inputs.support(cell, index, stage).batch().to(inputs.settings.device)
    model = inputs.trained.network if start is None else start
    clean, rng = (
        clean_images(cell, index, inputs, stage),
        streams("simulated", cell, index, support, stage),
    )
    fixed = support.images if cell.budget.knowledge == "clean" else captured

    def show(parameters: Parameters) -> Batch:
        shown = fixed
        if shown is None:
            target = frozen(with_parameters(model, parameters))
            shown = craft(target, cell, support, inputs, meter, rng)
        rehearsed = clean()
        return Batch(
            torch.cat([shown, rehearsed.images]), torch.cat([support.labels, rehearsed.labels])
        )

    return SupportView(show, meter)


def capture_again(
    cell: Cell, index: int, inputs: Inputs, meter: Meter, stage: int, start: nn.Module
) -> Tensor | None:
    """The attacked support, crafted against a model that has adapted before; None if not shown."""
    if cell.budget.knowledge not in CAPTURED:
        return None
    support = inputs.support(cell, index, stage).batch().to(inputs.settings.device)
    rng = streams("shown", cell, index, support, stage)
    return craft(frozen(start), cell, support, inputs, meter, rng)


def streams(kind: str, cell: Cell, index: int, images: Batch, stage: int = 0) -> Streams:
    """One for each image, by why it is attacked (`kind`), attack, training seed and episode."""
    names = ("attack", kind, cell.attack, cell.seed, index, *at_stage(stage))
    return Streams.named(len(images.labels), *names)


def craft(
    target: nn.Module, cell: Cell, images: Batch, inputs: Inputs, meter: Meter, rng: Streams
) -> Tensor:
    """Images under the attack of a cell, at full strength, against any model."""
    attack, searched = inputs.attack(cell.attack), inputs.searched(target)
    with torch.enable_grad():
        return run_attack(attack, searched, images, "examples", meter, rng).images


def clean_images(cell: Cell, index: int, inputs: Inputs, stage: int = 0) -> Callable[[], Batch]:
    """Draws of clean training images, as many as are shown: every defender has those."""
    train, size = inputs.data.train, cell.budget.shots * inputs.data.classes
    rng = stream("adapt", cell.dataset, cell.seed, index, *at_stage(stage))

    def draw() -> Batch:
        return next(iter(minibatches(train, size, rng))).to(inputs.settings.device)

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
