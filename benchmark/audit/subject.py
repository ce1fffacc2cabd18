"""What a part of an audit is handed: a trained model, images, and a way to attack it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from attacks.build import build_attack
from benchmark.artifacts.attacker import Attacker
from benchmark.artifacts.models import Model
from benchmark.core.errors import AuditError
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Goal
from benchmark.evaluation.verdicts import Meter, correct, run_attack, survives
from benchmark.results.cells import Cell


@dataclass(frozen=True)
class Subject:
    """A trained model under audit."""

    cell: Cell
    """Which it is: data set, network, defense, seed."""
    trained: Model
    batch: Batch
    """Validation images and labels, on the device."""
    classes: int
    strengths: Mapping[str, Any]
    """Sizes of attacks on this data, as `build_attack` takes them."""
    attacker: Attacker
    """What attacks know beside the model."""
    meter: Meter = field(default_factory=Meter)
    _crafted: dict[tuple[str, Goal], Tensor] = field(default_factory=dict)
    _left: dict[tuple[str, ...], Tensor] = field(default_factory=dict)

    @property
    def model(self) -> nn.Module:
        """Frozen, float32: images in [0, 1] in, logits out."""
        return self.trained.network

    @property
    def randomised(self) -> bool:
        """Whether it answers the same images otherwise every time, as the first look found."""
        return self.flagged("randomised")

    def attack(self, text: str) -> Attack:
        """An attack at this data's strength, which knows what it needs to."""
        return self.attacker.informed(build_attack(text, self.strengths))

    def streams(self, *names: object) -> Streams:
        """A stream of random numbers for each image."""
        return Streams.named(len(self.batch.labels), "audit", self.cell.seed, *names)

    def crafted(self, text: str, goal: Goal = "verdict") -> Tensor:
        """The images under an attack, audited, in [0, 1]; asked for twice, made once."""
        if (text, goal) not in self._crafted:
            attack, rng = self.attack(text), self.streams(text)
            made = run_attack(attack, self.model, self.batch, goal, self.meter, rng)
            self._crafted[text, goal] = made.images
        return self._crafted[text, goal]

    def stands(self, text: str) -> Tensor:
        """Which images are right with and without an attack: bool (n,)."""
        return self.right() & correct(self.model, Batch(self.crafted(text), self.batch.labels))

    def left(self, *texts: str) -> Tensor:
        """Which images attacks leave right, each on what those before it left: bool (n,).

        An attack that cannot run on this data, for want of classes say, leaves all; so does one
        that gradients which are not finite lead to no image at all.
        """
        if not texts:
            return self.right()
        if texts not in self._left:
            standing, attack = self.left(*texts[:-1]), self.attack(texts[-1])
            if attack.cannot_run(tuple(self.batch.images.shape[1:]), self.classes) is None:
                standing = self._left_by(attack, standing, self.streams(texts[-1]))
            self._left[texts] = standing
        return self._left[texts]

    def _left_by(self, attack: Attack, standing: Tensor, rng: Streams) -> Tensor:
        try:
            return survives(attack, self.model, self.batch, self.meter, rng, standing)[0]
        except AuditError:
            if not self.flagged("gradients not finite"):
                raise
            return standing

    def flagged(self, code: str) -> bool:
        """Whether the first look at the model found this."""
        return any(str(flag).startswith(code) for flag in self.trained.flags)

    def right(self) -> Tensor:
        """Which images are right without an attack: bool (n,)."""
        return correct(self.model, self.batch)
