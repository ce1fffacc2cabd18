"""Auto-PGD (Croce & Hein 2020) on more losses, and in l1 (Croce & Hein 2021), through our engine.

`apgd_linf`, `apgd_l2`, `apgdt_linf` and `apgdt_l2` come from torchattacks. As in AutoAttack, what
is broken is not attacked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks import ATTACKS
from attacks.autoattack.apgd import APGD, climb, targeted_margin, untargeted
from attacks.autoattack.apgd_l1 import balls, climb_l1
from attacks.autoattack.stage import likeliest_wrong
from attacks.engine.losses import margin_loss, probability_margin
from attacks.engine.search import Search
from benchmark.core.streams import Streams
from benchmark.core.types import Family


@dataclass(frozen=True)
class AutoPGD(APGD):
    """Auto-PGD on the cross-entropy from random starts."""

    only_by_name: ClassVar[str] = ""
    eps: float
    steps: int = 50
    """As in `apgd_linf`; 100 is published."""
    restarts: int = 1

    @property
    def iterations(self) -> int:
        """Steps of one run."""
        return self.steps

    @property
    def passes(self) -> int:
        """The image; in each ball a forward and a backward for the start, and for each step."""
        starts = len(balls(self.steps)) if self.norm == "l1" else 1
        return 1 + self.restarts * 2 * (self.steps + starts)

    def objective(self, targets: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss it climbs, (rows,)."""
        return untargeted(targets, logits, labels)

    def attack(self, search: Search, rng: Streams) -> None:
        """See `Stage.attack`."""
        self.run(search, search.labels, rng)

    def run(self, search: Search, targets: Tensor, rng: Streams) -> None:
        """All restarts with these target classes (n,), on what still stands."""
        for restart in range(self.restarts):
            rows = search.standing()
            if not len(rows):
                return
            way = climb_l1 if self.norm == "l1" else climb
            start = self.start(search.images[rows], rng.fork(restart).take(rows))
            way(search, rows, start, targets[rows], self.objective, self)

    def start(self, images: Tensor, rng: Streams) -> Tensor:
        """See `APGD.start`; in l1 normal noise, which is then projected."""
        if self.norm != "l1":
            return super().start(images, rng)
        return images + rng.normal(tuple(images.shape[1:])).to(images.device)


@dataclass(frozen=True)
class AutoPGDMargin(AutoPGD):
    """Auto-PGD on the difference of logits ratio, which sees through logits of great size."""

    def objective(self, targets: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """See `margin_loss`."""
        return margin_loss(logits, labels)


@dataclass(frozen=True)
class AutoPGDProbability(AutoPGD):
    """Auto-PGD on the margin of probabilities."""

    def objective(self, targets: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """See `probability_margin`."""
        return probability_margin(logits, labels)


@dataclass(frozen=True)
class AutoPGDTargeted(AutoPGD):
    """Auto-PGD on the targeted margin: towards the likeliest wrong classes, one after the other."""

    targets: int = 9
    """9 is published, 5 in l1; all wrong classes where there are fewer."""

    @property
    def passes(self) -> int:
        """A run for each target class; the image twice."""
        return 2 + self.targets * (super().passes - 1)

    def objective(self, targets: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """See `targeted_margin`."""
        return targeted_margin(targets, logits, labels)

    def attack(self, search: Search, rng: Streams) -> None:
        """See `Stage.attack`. What one target class breaks is not attacked with the next."""
        for number, targets in enumerate(
            likeliest_wrong(search, search.everyone(), self.targets).T
        ):
            self.run(search, targets, rng.fork("target", number))


@ATTACKS.register
@dataclass(frozen=True)
class AutoPGDMarginLinf(AutoPGDMargin):
    """Auto-PGD in linf with the margin loss, which sees through logits of great size."""

    name: ClassVar[str] = "apgd_dlr_linf"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"


@ATTACKS.register
@dataclass(frozen=True)
class AutoPGDMarginL2(AutoPGDMargin):
    """Auto-PGD in l2 with the margin loss."""

    name: ClassVar[str] = "apgd_dlr_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"


@ATTACKS.register
@dataclass(frozen=True)
class AutoPGDMarginL1(AutoPGDMargin):
    """Auto-PGD in l1 with the margin loss."""

    name: ClassVar[str] = "apgd_dlr_l1"
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"


@ATTACKS.register
@dataclass(frozen=True)
class AutoPGDProbabilityLinf(AutoPGDProbability):
    """Auto-PGD in linf with the margin of probabilities (Xie et al. 2024)."""

    name: ClassVar[str] = "apgd_pm_linf"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"


@ATTACKS.register
@dataclass(frozen=True)
class AutoPGDProbabilityL2(AutoPGDProbability):
    """Auto-PGD in l2 with the margin of probabilities (Xie et al. 2024)."""

    name: ClassVar[str] = "apgd_pm_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"


@ATTACKS.register
@dataclass(frozen=True)
class AutoPGDProbabilityL1(AutoPGDProbability):
    """Auto-PGD in l1 with the margin of probabilities (Xie et al. 2024)."""

    name: ClassVar[str] = "apgd_pm_l1"
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"


@ATTACKS.register
@dataclass(frozen=True)
class AutoPGDL1(AutoPGD):
    """Auto-PGD in l1: sparse steps that become sparser (Croce & Hein 2021)."""

    name: ClassVar[str] = "apgd_l1"
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"


@ATTACKS.register
@dataclass(frozen=True)
class AutoPGDTargetedL1(AutoPGDTargeted):
    """Auto-PGD in l1 on the targeted margin (Croce & Hein 2021)."""

    name: ClassVar[str] = "apgdt_l1"
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"
