"""What a defender looks at who infers from a few pairs what the attacker may do.

Each step shows the attacked support, own training images attacked inside what was inferred, and own
training images under an attack of the training (rehearsal): the first are few, the second many, and
without the third other attacks are forgotten.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmark.adaptation.adapt import with_parameters
from benchmark.core.model_batch import Parameters
from benchmark.core.schema import Effort
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.threats.options import SHARES, Amplify
from benchmark.core.threats.sets import Inference, Pairs, ThreatSet
from benchmark.core.types import Batch, NormBall, distance
from benchmark.data.splits import at_stage, minibatches
from benchmark.evaluation.verdicts import Meter, frozen, metered, run_attack
from benchmark.protocol.defender import SupportView, craft, streams, support_view
from benchmark.protocol.inputs import Inputs
from benchmark.results.records import Cell, Inferred

NEAR = 2000
"""Own images, to the nearest of which attacked ones without originals are compared."""


def view_of(
    cell: Cell, index: int, inputs: Inputs, meter: Meter, captured: Tensor | None,
    stage: int = 0, start: nn.Module | None = None,
) -> SupportView:  # fmt: skip
    """What the defender of a cell looks at; arguments as in `support_view`."""
    numbers = cell.budget.amplify
    if numbers is None:
        return support_view(cell, index, inputs, meter, captured, stage, start)
    return AmplifiedView(cell, index, inputs, meter, captured, numbers, stage, start)


TOLERATED, MOST = 0.1, 0.9
"""Share of images that may break beyond what was shown: as much as 50 of them may be off. And in
all: where everything breaks nothing is learned, and clean images are forgotten."""


class AmplifiedView(SupportView):
    """A defender's `Show` that keeps what was inferred so far; the first look is at the support."""

    def __init__(  # noqa: PLR0913, PLR0917 (as `support_view`)
        self, cell: Cell, index: int, inputs: Inputs, meter: Meter, captured: Tensor | None,
        numbers: Amplify, stage: int = 0, start: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__(self._look, meter)
        self.cell, self.inputs, self.numbers = cell, inputs, numbers
        self.support = inputs.support(cell, index, stage).batch().to(inputs.settings.device)
        self.model = inputs.trained.network if start is None else start
        self.rng = stream("amplify", cell.dataset, cell.seed, index, *at_stage(stage))
        self.streams = streams("simulated", cell, index, self.support, stage)
        clean = cell.budget.knowledge == "clean"
        self.first = self.support.images if clean else captured
        self.latest: Tensor | None = None
        self.sets: list[ThreatSet] = []
        self.share = 1.0
        self.step = -1

    @property
    def effort(self) -> Effort:
        """Of the inner steps, and of the attack on the support before the first of them."""
        first, looked = self.noted[0], len(self.support.labels)
        attack = Effort(forwards=first.forwards - looked, backwards=first.backwards - looked)
        return sum(self.noted[1:], attack)

    def _look(self, parameters: Parameters) -> Batch:
        """See `Show`."""
        target = frozen(with_parameters(self.model, parameters))
        if self.first is None:
            self.first = self._attacked(target)
        if self.step < 0:
            self.step = 0
            self._infer(self.first, target)
            self.sets = [self._calibrated(one, target) for one in self.sets]
            if self.inferred and self.sets:
                self.inferred = self.inferred.model_copy(update={"found": str(self.sets[0])})
            return Batch(self.first, self.support.labels)
        simulated = self.cell.budget.knowledge == "simulated"
        if simulated and self.step and self.step % self.numbers.every == 0:
            self.latest = self._attacked(target)
            self._infer(self.latest, target)
        self.step += 1
        parts = [self._shown(self.first), self._rehearsed(target)]
        if self.sets:
            parts.insert(1, self._inside(target))
        return Batch(*(torch.cat(some) for some in zip(*parts, strict=True)))

    def _attacked(self, target: nn.Module) -> Tensor:
        """The support under the attack, against the model of the moment."""
        return craft(target, self.cell, self.support, self.inputs, self.meter, self.streams)

    def _infer(self, attacked: Tensor, target: nn.Module) -> None:
        """One set more, of the kind that the first pairs gave, or norms where it fits no longer."""
        if not self.numbers.infers:
            return
        numbers, known = self.numbers, self.inferred
        if known is not None and known.kind:
            numbers = replace(numbers, representations=known.kind)
        with metered(target, self.meter):
            found = self._inference(numbers, attacked, target)
        if found.found:
            self.sets.append(found.found.scaled(self.share) or found.found)
        if known is None:
            self.inferred = as_recorded(found)
        else:
            self.inferred = known.model_copy(update={"sets": len(self.sets)})

    def _inference(self, numbers: Amplify, attacked: Tensor, target: nn.Module) -> Inference:
        """Of pairs; of attacked images alone where they were captured without their originals."""
        assert self.inputs.infer is not None and self.inputs.infer_alone is not None
        if self.cell.budget.knowledge != "captured":
            return self.inputs.infer(numbers, Pairs(self.support.images, attacked))
        shown = Batch(attacked, self.support.labels)
        searched = self.inputs.searched(target)
        return self.inputs.infer_alone(numbers, searched, shown, self._clean(NEAR))

    def _calibrated(self, found: ThreatSet, target: nn.Module) -> ThreatSet:
        """Norms halved until own images break inside them about as often as what was shown.

        Norms alone say little of an attack that changes much and breaks little, as a frame does:
        in balls as large everything breaks, and training there costs what the network knew.
        """
        if found.scaled(1) is None:
            return found
        assert self.first is not None
        (batch, rng), model = self._own(self.numbers.own), self.inputs.searched(target)
        sized = found
        with metered(target, self.meter):
            most = min(MOST, broken(target, self.first, self.support.labels) + TOLERATED)
            for self.share in SHARES:
                sized = found.scaled(self.share) or found
                if broken(target, sized.attack_inside(model, *batch, rng), batch.labels) <= most:
                    break
        return sized

    def _shown(self, first: Tensor) -> Batch:
        """Some of the support: each as it was attacked first, or last."""
        rows = torch.cat([
            torch.randperm(len(first), generator=self.rng)
            for _ in range(-(-self.numbers.shown // len(first)))
        ])[: self.numbers.shown]  # fmt: skip
        shown = Batch(first, self.support.labels).take(rows.to(first.device))
        if self.latest is None:
            return shown
        old = torch.rand(len(rows), generator=self.rng) < 0.5
        latest = self.latest[rows.to(first.device)]
        images = torch.where(old.to(first.device)[:, None, None, None], shown.images, latest)
        return Batch(images, shown.labels)

    def _clean(self, count: int) -> Batch:
        """Training images as they are."""
        batch = next(iter(minibatches(self.inputs.data.train, count, self.rng)))
        return batch.to(self.inputs.settings.device)

    def _own(self, count: int) -> tuple[Batch, Streams]:
        """Training images to attack, and a stream for each."""
        batch = self._clean(count)
        return batch, Streams.dealt(self.rng, len(batch.labels))

    def _inside(self, target: nn.Module) -> Batch:
        """Own images attacked inside one of the sets; of the first the size is noted."""
        batch, rng = self._own(self.numbers.own)
        chosen = self.sets[int(torch.randint(len(self.sets), (1,), generator=self.rng))]
        with metered(target, self.meter):
            searched = self.inputs.searched(target)
            images = chosen.attack_inside(searched, *batch, rng).detach()
        if self.inferred is not None and self.inferred.size is None:
            self.inferred = self.inferred.model_copy(update=self._sizes(batch.images, images))
        return Batch(images, batch.labels)

    def _sizes(self, before: Tensor, after: Tensor) -> dict[str, float | None]:
        """`size` and `declared` of `Inferred`."""
        assert self.first is not None
        shown = distance(self.support.images, self.first, "l2")
        shown = shown[shown > 0].median()
        threat = self.inputs.attacks[self.cell.attack].threat
        ball = isinstance(threat, NormBall) and threat
        return {
            "size": float(distance(before, after, "l2").median() / shown),
            "declared": float(distance(before, after, ball.norm).median() / ball.eps)
            if ball else None,
        }  # fmt: skip

    def _rehearsed(self, target: nn.Module) -> Batch:
        """Own images under an attack of the training, by chance; as they are where it had none."""
        batch, rng = self._own(self.numbers.rehearsed)
        attacks = self.inputs.rehearsed
        if not attacks:
            return batch
        attack = attacks[int(torch.randint(len(attacks), (1,), generator=self.rng))]
        searched = self.inputs.searched(target)
        with torch.enable_grad():
            found = run_attack(attack, searched, batch, "examples", self.meter, rng)
        return Batch(found.images.detach(), batch.labels)


@torch.no_grad()
def broken(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images (n, ...) that the model does not give their labels (n,)."""
    return float((model(images).argmax(dim=1) != labels).float().mean())


def as_recorded(found: Inference) -> Inferred:
    """What the record of a cell says of it."""
    return Inferred(
        kind=found.kind, found=str(found.found or ""), residuals=dict(found.residuals),
        pairs=found.pairs, sets=bool(found.found), clipped=found.clipped, in_order=found.in_order,
    )  # fmt: skip
