"""Tones of a whole picture: one function of a pixel's value for all pixels, from a finite set.

Laidlaw & Feizi 2019 (ReColorAdv, arXiv 1906.00001) search such functions by gradient; here they are
few and all tried. Any number of channels; a function is the same for all of them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks import ATTACKS
from attacks.engine.exhaustive import Exhaustive, Variants, check_most, check_odd, even_steps
from benchmark.core.errors import UsageError
from benchmark.core.specs import check_numbers
from benchmark.core.types import Family, Scales


@dataclass(frozen=True)
class Gammas(Variants):
    """Pixels to the power of exponents from 1 / gamma to gamma, their logarithms evenly apart."""

    gamma: float
    exponents: int
    norm: str = "colour"

    def grid(self) -> list[float]:
        """The exponent 1, then from the farthest to the nearest."""
        powers = [step for step in even_steps(math.log(self.gamma), self.exponents) if step]
        return [1.0, *(math.exp(step) for step in sorted(powers, key=abs, reverse=True))]

    def make(self, images: Tensor, variant: float) -> Tensor:
        """Images to the power: above 1 they darken, below they brighten."""
        return images.clone() if variant == 1 else images.pow(variant).clamp(0, 1)

    def __str__(self) -> str:
        return f"gamma {self.gamma:.4g}"


Curve = tuple[float, ...]
"""How far each control point is moved."""


@dataclass(frozen=True)
class Curves(Variants):
    """Piecewise linear curves that never fall, the same for all channels.

    `points` control points stand evenly between 0 and 1; each is moved by up to `tone`, up or
    down, in so many `steps`. Black stays black and white stays white.
    """

    tone: float
    points: int
    steps: int
    norm: str = "colour"

    def grid(self) -> list[Curve]:
        """The straight line, then from the farthest to the nearest."""
        curves = itertools.product(even_steps(self.tone, self.steps), repeat=self.points)
        bent = {curve for curve in curves if any(curve) and self._rises(curve)}
        far = sorted(bent, key=lambda one: (sum(map(abs, one)), one), reverse=True)
        return [(0.0,) * self.points, *far]

    def _rises(self, curve: Curve) -> bool:
        """Whether brighter pixels never become darker ones: rounding is forgiven."""
        ends = [0.0, *(self._at(place) + move for place, move in enumerate(curve)), 1.0]
        return all(low <= high + 1e-9 for low, high in itertools.pairwise(ends))

    def _at(self, place: int) -> float:
        return (place + 1) / (self.points + 1)

    def make(self, images: Tensor, variant: Curve) -> Tensor:
        """Pixels x become x + sum_k move_k hat_k(x); hat_k is 1 at control point k, 0 at others."""
        bent = images.clone()
        for place, move in enumerate(variant):
            if move:
                away = (images - self._at(place)).abs() * (self.points + 1)
                bent += move * (1 - away).clamp_min(0)
        return bent.clamp(0, 1)

    def __str__(self) -> str:
        return f"tones {self.tone:.4g}"


@ATTACKS.register
@dataclass(frozen=True)
class Gamma(Exhaustive):
    """Every exponent on a grid."""

    name: ClassVar[str] = "gamma"
    family: ClassVar[Family] = "colour"
    norm: ClassVar[str] = "colour"
    low_and_high: ClassVar[Scales] = {"gamma": (0.64, 1.6)}
    gamma: float
    """The largest exponent; the smallest is 1 / gamma."""
    exponents: int = 41

    def __post_init__(self) -> None:
        """Refuse what is no grid."""
        check_numbers(self, least=1)
        check_odd(self, "exponents")
        if self.gamma < 1:
            raise UsageError(f"{self.name}[gamma={self.gamma:g}]: expected at least 1")

    @property
    def threat(self) -> Gammas:
        """The exponents."""
        return Gammas(self.gamma, self.exponents)


@ATTACKS.register
@dataclass(frozen=True)
class ToneCurve(Exhaustive):
    """Every curve of tones on a grid."""

    name: ClassVar[str] = "tone_curve"
    family: ClassVar[Family] = "colour"
    norm: ClassVar[str] = "colour"
    low_and_high: ClassVar[Scales] = {"tone": (0.5, 2.0)}
    tone: float
    """How far a control point is moved, in units of [0, 1]."""
    points: int = 3
    steps: int = 5

    def __post_init__(self) -> None:
        """Refuse what is no grid."""
        check_numbers(self, least=1)
        check_odd(self, "steps")
        check_most(self, "tone", 1)

    @property
    def threat(self) -> Curves:
        """The curves."""
        return Curves(self.tone, self.points, self.steps)
