"""Detail taken away, and perturbations that live in a band of frequencies.

Guo et al. 2018 (arXiv 1809.08758) search perturbations among the lowest frequencies of the DCT;
Sharma et al. 2019 (arXiv 1903.00073) among low and among high ones, by gradient. Bands are shares
of the frequencies of each direction: `low=0.25` are the lowest quarter of the rows and columns of
coefficients, `high=0.25` are all others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from attacks import ATTACKS
from attacks.engine.dct import lowest
from attacks.engine.exhaustive import Exhaustive, Variants, check_most
from attacks.engine.geometry import project, random_start
from attacks.engine.search import Search, own_loss
from benchmark.core.specs import check_numbers
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Family, Goal, NormBall, Scales, Threat

LEAK = 0.01
"""The share of a perturbation's energy that may lie outside its band: what the cut to [0, 1] and
to the linf ball brings in."""
ROUNDS = 5
"""Alternate projections onto the band and the box; more bring the leak further down."""


class Cutoff(NamedTuple):
    """Shares of the frequencies that are kept, in (0, 1]."""

    down: float
    right: float


WHOLE = Cutoff(1, 1)


@dataclass(frozen=True)
class Cutoffs(Variants):
    """Only the lowest frequencies, from all of them to the share `kept`, in each direction."""

    kept: float
    steps: int
    norm: str = "frequency"

    def grid(self) -> list[Cutoff]:
        """The whole image, then from the least to the most detail."""
        shares = sorted({1 - (1 - self.kept) * step / self.steps for step in range(self.steps + 1)})
        cutoffs = {Cutoff(down, right) for down in shares for right in shares} - {WHOLE}
        return [WHOLE, *sorted(cutoffs, key=lambda one: (one.down * one.right, one))]

    def make(self, images: Tensor, variant: Cutoff) -> Tensor:
        """Images without their higher frequencies, cut to [0, 1]."""
        if variant == WHOLE:
            return images.clone()
        return lowest(images, *variant).clamp(0, 1)

    def __str__(self) -> str:
        return f"the lowest {self.kept:.4g} of frequencies"


@ATTACKS.register
@dataclass(frozen=True)
class LowPass(Exhaustive):
    """Every cut-off on a grid."""

    name: ClassVar[str] = "low_pass"
    family: ClassVar[Family] = "frequency"
    norm: ClassVar[str] = "frequency"
    low_and_high: ClassVar[Scales] = {"kept": (1.5, 2 / 3)}
    kept: float
    """The least share of the frequencies of a direction that is kept."""
    steps: int = 5

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        check_numbers(self, least=1)
        check_most(self, "kept", 1)

    @property
    def threat(self) -> Cutoffs:
        """The cut-offs."""
        return Cutoffs(self.kept, self.steps)


@dataclass(frozen=True)
class Band(Threat):
    """An linf ball; all but LEAK of the energy of the difference lies in a band of frequencies.

    The band is the lowest `share` of the frequencies in both directions, or all others (`above`).
    """

    eps: float
    share: float
    above: bool
    norm: str = "frequency"

    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """See `Threat.inside`: differences that are rounding have no frequency."""
        ball = NormBall("linf", self.eps).inside(images, perturbed)
        delta = perturbed.double() - images.double()
        outside = (delta - self.part(delta)).flatten(1).square().sum(dim=1)
        energy = delta.flatten(1).square().sum(dim=1)
        return ball & (outside <= LEAK * energy + 1e-12 * images[:1].numel())

    def part(self, delta: Tensor) -> Tensor:
        """What of perturbations lies in the band."""
        below = lowest(delta, self.share, self.share)
        return delta - below if self.above else below

    def nearest(self, delta: Tensor, images: Tensor) -> Tensor:
        """A point of the ball and of [0, 1] near `delta` and all but in the band."""
        for _ in range(ROUNDS):
            delta = project(self.part(delta), images, self.eps, "linf")
        return delta

    def __str__(self) -> str:
        side = "above" if self.above else "in"
        return f"linf {self.eps:.4g}, {side} the lowest {self.share:.4g} of frequencies"


@dataclass(frozen=True)
class BandPGD(Attack):
    """Projected gradient ascent by the sign of what of the gradient lies in the band.

    An iterate that leaks more than the threat allows is passed by, not counted.
    """

    family: ClassVar[Family] = "frequency"
    norm: ClassVar[str] = "frequency"
    white_box: ClassVar[bool] = True
    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    eps: float
    steps: int = 40
    step_size: float | None = None
    """2.5 * eps / steps if not given, as in `pgd_linf`."""
    restarts: int = 1

    def __post_init__(self) -> None:
        """Refuse what would attack nothing."""
        check_numbers(self, least=1)

    @property
    def threat(self) -> Band:
        """The ball and the band."""
        raise NotImplementedError

    @property
    def passes(self) -> int:
        """The image itself; forward and backward for each step; a forward for the last iterate."""
        return 1 + self.restarts * (2 * self.steps + 1)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. Starts are drawn for the whole batch, whoever is broken already."""
        search = Search(model, images, labels, goal)
        search.ask(search.everyone(), images)
        for _ in range(self.restarts):
            self._climb(search, random_start(images, self.eps, "linf", rng))
        return search.best

    def _climb(self, search: Search, start: Tensor) -> None:
        """All steps from `start` (len(search.images), ...)."""
        rows, threat = search.remaining(), self.threat
        stride = self.step_size or 2.5 * self.eps / self.steps
        images = search.images[rows]
        delta = threat.nearest(start[rows], images)
        for _ in range(self.steps):
            if not len(rows):
                return
            gradient = self._noted(search, rows, images, delta)
            stay = search.leave(rows)
            if stay is not None:
                rows, images, delta, gradient = (x[stay] for x in (rows, images, delta, gradient))
            delta = threat.nearest(delta + stride * threat.part(gradient).sign(), images)
        if len(rows):
            moved = (images + delta).clamp(0, 1)
            search.ask(rows, moved, allowed=threat.inside(images, moved))

    def _noted(self, search: Search, rows: Tensor, images: Tensor, delta: Tensor) -> Tensor:
        """The loss's gradient at an iterate, which is noted if the threat allows it."""
        moved = (images + delta).clamp(0, 1)
        found = search.slope(rows, moved, own_loss)
        allowed = self.threat.inside(images, moved)
        search.note(rows, moved, found.logits, lambda *_: found.loss, allowed)
        return found.gradient


@ATTACKS.register
@dataclass(frozen=True)
class PGDLowFrequency(BandPGD):
    """Smooth perturbations: PGD among the lowest frequencies."""

    name: ClassVar[str] = "pgd_low_frequency"
    low: float = field(kw_only=True)
    """The share of the frequencies of a direction that is attacked."""

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        super().__post_init__()
        check_most(self, "low", 1)

    @property
    def threat(self) -> Band:
        """The ball and the low frequencies."""
        return Band(self.eps, self.low, above=False)


@ATTACKS.register
@dataclass(frozen=True)
class PGDHighFrequency(BandPGD):
    """Rough perturbations: PGD among all but the lowest frequencies."""

    name: ClassVar[str] = "pgd_high_frequency"
    high: float = field(kw_only=True)
    """The share of the lowest frequencies of a direction that is left as it is."""

    def __post_init__(self) -> None:
        """Refuse what leaves no frequency."""
        super().__post_init__()
        check_most(self, "high", 0.9)

    @property
    def threat(self) -> Band:
        """The ball and the high frequencies."""
        return Band(self.eps, self.high, above=True)
