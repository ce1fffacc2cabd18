"""AutoAttack (Croce & Hein 2020), as published, through our engine: its four parts in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attacks import ATTACKS
from attacks.autoattack.apgd import (
    APGDCrossEntropyL2,
    APGDCrossEntropyLinf,
    APGDTargetedL2,
    APGDTargetedLinf,
)
from attacks.autoattack.fab import FABTargetedL2, FABTargetedLinf
from attacks.autoattack.square import SquareL2, SquareLinf
from attacks.autoattack.stage import Stage
from attacks.engine.search import Search
from benchmark.core.streams import Streams
from benchmark.core.types import Family


@dataclass(frozen=True)
class Ensemble(Stage):
    """APGD-CE, APGD-T, FAB-T and Square in turn on the images that still stand.

    As its authors have it, what one part breaks is not attacked by the next, whatever the goal:
    the examples of an ensemble are those of the first part that breaks an image.
    """

    only_by_name: ClassVar[str] = ""
    eps: float
    iterations: int = 100
    """Of APGD and FAB, each target class; 100 is published, anything less is not AutoAttack."""
    targets: int = 9
    """Classes that APGD-T and FAB-T aim at; 9 is published, or all where there are fewer."""
    queries: int = 5000
    """Of Square; 5,000 is published, anything less is not AutoAttack."""

    def parts(self) -> tuple[Stage, ...]:
        """The attacks in their order."""
        raise NotImplementedError

    @property
    def passes(self) -> int:
        """Of an image that stands to the end."""
        return sum(part.passes for part in self.parts())

    def attack(self, search: Search, rng: Streams) -> None:
        """See `Part.attack`."""
        for part in self.parts():
            if not len(search.standing()):
                return
            part.attack(search, rng.fork(part.name))


@ATTACKS.register
@dataclass(frozen=True)
class AutoAttackLinf(Ensemble):
    """AutoAttack in linf, as published: 100 iterations, 9 targets, 5,000 queries."""

    name: ClassVar[str] = "aa_linf"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"

    def parts(self) -> tuple[Stage, ...]:
        """See `Ensemble.parts`."""
        return (
            APGDCrossEntropyLinf(self.eps, self.iterations),
            APGDTargetedLinf(self.eps, self.iterations, self.targets),
            FABTargetedLinf(self.eps, self.iterations, self.targets),
            SquareLinf(self.eps, self.queries),
        )


@ATTACKS.register
@dataclass(frozen=True)
class AutoAttackL2(Ensemble):
    """AutoAttack in l2, as published: 100 iterations, 9 targets, 5,000 queries."""

    name: ClassVar[str] = "aa_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"

    def parts(self) -> tuple[Stage, ...]:
        """See `Ensemble.parts`."""
        return (
            APGDCrossEntropyL2(self.eps, self.iterations),
            APGDTargetedL2(self.eps, self.iterations, self.targets),
            FABTargetedL2(self.eps, self.iterations, self.targets),
            SquareL2(self.eps, self.queries),
        )
