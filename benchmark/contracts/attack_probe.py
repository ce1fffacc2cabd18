"""An attack under observation: made cheap, run on toys, with everything it could spoil noted."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from torch import Tensor, nn

from benchmark.contracts.check import NotApplicable
from benchmark.contracts.toys import LinearTask, conv_net, linear_task, some_images
from benchmark.core.seeding import global_hash, global_state, stream
from benchmark.core.specs import options_of
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, AttackerKnowledge, Batch, Goal, NormBall, Shape
from benchmark.evaluation.verdicts import Meter, correct, run_attack, state_hash

CLASSES = 10
CUTS = {
    "steps": 3, "iterations": 3, "queries": 30, "samples": 4, "restarts": 1, "targets": 3,
    "searches": 2, "population": 20, "tries": 4, "draws": 3, "angles": 5, "shifts": 3,
}  # fmt: skip
"""The most of each option that the contract pays for."""
ENOUGH = {**CUTS, "steps": 40, "iterations": 10}
"""The same where an attack must show what it can find."""


class Traces(NamedTuple):
    """What an attack may not leave changed."""

    weights: str
    gradients: list[bool]
    modes: list[bool]
    randomness: str


class Observation(NamedTuple):
    """One call of an attack: what it was given, what it gave back, what it left behind."""

    batch: Batch
    handed: Batch
    proposed: Tensor
    before: Traces
    after: Traces


@dataclass(frozen=True)
class AttackUnderTest:
    """An attack made cheap, on images of `shape`; `strong` costs more where it must find more."""

    attack: Attack
    strong: Attack
    shape: Shape

    @cached_property
    def seen(self) -> Observation:
        """Its first call, on a network with two of six images wrong from the start."""
        return observe(self.attack, *self.network(), "examples", 0)

    def network(self, classes: int = CLASSES) -> tuple[nn.Module, Batch]:
        """A fresh network and its images."""
        model = conv_net(self.shape, classes)
        return model, some_images(model, self.shape, 6, wrong=2)

    def linear(self) -> LinearTask:
        """The toy with a closed form for this threat."""
        threat = self.attack.threat
        if not isinstance(threat, NormBall):
            raise NotApplicable(f"no closed form is known for {threat.norm}")
        return linear_task(threat, self.shape[0], CLASSES)

    @cached_property
    def solved(self) -> tuple[LinearTask, Tensor]:
        """The linear toy, and which of its images the audited attack breaks."""
        task = self.linear()
        rng = Streams.named(len(task.batch.labels), "contract", "linear")
        attack = informed(self.strong, task.model, task.batch)
        images = run_attack(attack, task.model, task.batch, "examples", Meter(), rng).images
        return task, ~correct(task.model, Batch(images, task.batch.labels))


def cheaper(attack: Attack, cuts: dict[str, int], given: frozenset[str]) -> Attack:
    """The attack with the options in `cuts` cut down, except those `given`."""
    cut: dict[str, Any] = {
        key: min(cuts[key], getattr(attack, key))
        for key in options_of(type(attack)).keys() & cuts.keys() - given
        if isinstance(getattr(attack, key), int)
    }
    return replace(attack, **cut)  # type: ignore[type-var]


def traces(model: nn.Module) -> Traces:
    """Everything at this moment that an attack could spoil."""
    parameters = list(model.parameters())
    return Traces(
        state_hash(model),
        [parameter.grad is not None for parameter in parameters]
        + [parameter.requires_grad for parameter in parameters],
        [module.training for module in model.modules()],
        global_hash(),
    )


def informed(attack: Attack, model: nn.Module, batch: Batch) -> Attack:
    """The attack with all knowledge there can be: the images, and the model as each surrogate."""
    return attack.knowing(AttackerKnowledge(batch, (model,) * len(attack.surrogates)))


def observe(attack: Attack, model: nn.Module, batch: Batch, goal: Goal, turn: int) -> Observation:
    """One call. Its own stream is always the same; the global generators differ with `turn`."""
    handed = deepcopy(batch)
    with global_state(stream("contract", "global", turn)):
        before = traces(model)
        rng = Streams.named(len(batch.labels), "contract")
        attack = informed(attack, model, batch)
        proposed = attack.perturb(model, handed.images, handed.labels, goal, rng)
        return Observation(batch, handed, proposed, before, traces(model))
