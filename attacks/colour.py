"""Colours of a whole picture, changed while every edge stays where it is: finite sets.

Hosseini & Poovendran 2018 (arXiv 1804.00499) turn hues and change saturations at random; Afifi &
Brown 2019 (arXiv 1912.06960) render images with the wrong white balance, as a camera does. Here
every variant is tried.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.engine.exhaustive import Exhaustive, Variants, check_most, check_odd, even_steps
from benchmark.core.specs import check_numbers
from benchmark.core.types import Family, Scales

YIQ = torch.tensor(
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]],
    dtype=torch.float64,
)
"""From red, green, blue to luma and two numbers of colour (NTSC)."""


def needs_colour(shape: tuple[int, ...]) -> str | None:
    """Why an attack on colours cannot run on images (channels, height, width)."""
    return None if shape[0] == 3 else f"colour needs 3 channels, these images have {shape[0]}"


class Tint(NamedTuple):
    """Degrees the hue turns, and the factor of the saturation."""

    hue: float
    saturation: float


PLAIN = Tint(0, 1)


def tinted(images: Tensor, tint: Tint) -> Tensor:
    """Images (n, 3, height, width) in this tint, cut to [0, 1]; before the cut luma is kept.

    In YIQ a colour is a point (I, Q): its angle is the hue, its length the saturation.
    """
    if tint == PLAIN:
        return images.clone()
    cos, sin = (tint.saturation * turn(math.radians(tint.hue)) for turn in (math.cos, math.sin))
    turned = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
    matrix = (torch.linalg.inv(YIQ) @ turned @ YIQ).to(images)
    return torch.einsum("ij,njhw->nihw", matrix, images).clamp(0, 1)


@dataclass(frozen=True)
class Tints(Variants):
    """Hues turned by up to `hue` degrees, saturations from 1 - saturation to 1 + saturation."""

    hue: float
    saturation: float
    hues: int
    saturations: int
    norm: str = "colour"

    def grid(self) -> list[Tint]:
        """The image's own tint, then from the farthest to the nearest. Grey has no hue."""
        factors = [1 + step for step in even_steps(self.saturation, self.saturations)]
        turns = even_steps(self.hue, self.hues)
        tints = {Tint(turn if factor else 0.0, factor) for turn in turns for factor in factors}
        return [PLAIN, *sorted(tints - {PLAIN}, key=self._farness, reverse=True)]

    def _farness(self, tint: Tint) -> tuple[float, Tint]:
        hue = abs(tint.hue) / (self.hue or 1)
        return hue + abs(tint.saturation - 1) / (self.saturation or 1), tint

    def make(self, images: Tensor, variant: Tint) -> Tensor:
        """See `tinted`."""
        return tinted(images, variant)

    def __str__(self) -> str:
        return f"hue {self.hue:.4g} degrees, saturation {self.saturation:.4g}"


Balance = tuple[float, float, float]
"""Factors of red, green and blue."""


@dataclass(frozen=True)
class Balances(Variants):
    """Every channel scaled by a factor from 1 - balance to 1 + balance, cut to [0, 1]."""

    balance: float
    steps: int
    norm: str = "colour"

    def grid(self) -> list[Balance]:
        """All factors 1, then from the farthest to the nearest."""
        factors = [1 + step for step in even_steps(self.balance, self.steps)]
        scaled = {*itertools.product(factors, repeat=3)} - {(1.0, 1.0, 1.0)}
        far = sorted(scaled, key=lambda one: (sum(abs(f - 1) for f in one), one), reverse=True)
        return [(1.0, 1.0, 1.0), *((red, green, blue) for red, green, blue in far)]

    def make(self, images: Tensor, variant: Balance) -> Tensor:
        """Images (n, 3, height, width), each channel times its factor."""
        return (images * images.new_tensor(variant).view(3, 1, 1)).clamp(0, 1)

    def __str__(self) -> str:
        return f"balance {self.balance:.4g}"


@ATTACKS.register
@dataclass(frozen=True)
class HueSaturation(Exhaustive):
    """Every hue and saturation on a grid."""

    name: ClassVar[str] = "hue_saturation"
    family: ClassVar[Family] = "colour"
    norm: ClassVar[str] = "colour"
    low_and_high: ClassVar[Scales] = {"hue": (0.5, 1.5), "saturation": (0.5, 4 / 3)}
    hue: float
    """In degrees, below 180."""
    saturation: float
    """1 goes from grey to twice the saturation."""
    hues: int = 15
    saturations: int = 9

    def __post_init__(self) -> None:
        """Refuse what is no grid, or meets itself half way round."""
        check_numbers(self, least=1)
        check_odd(self, "hues", "saturations")
        check_most(self, "hue", 179)
        check_most(self, "saturation", 1)

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """Grey images have no hue."""
        return needs_colour(shape)

    @property
    def threat(self) -> Tints:
        """The tints."""
        return Tints(self.hue, self.saturation, self.hues, self.saturations)


@ATTACKS.register
@dataclass(frozen=True)
class ChannelBalance(Exhaustive):
    """Every balance of the three channels on a grid."""

    name: ClassVar[str] = "channel_balance"
    family: ClassVar[Family] = "colour"
    norm: ClassVar[str] = "colour"
    low_and_high: ClassVar[Scales] = {"balance": (0.5, 2.0)}
    balance: float
    steps: int = 5

    def __post_init__(self) -> None:
        """Refuse what is no grid, or blackens a channel."""
        check_numbers(self, least=1)
        check_odd(self, "steps")
        check_most(self, "balance", 0.9)

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """One channel alone has no balance."""
        return needs_colour(shape)

    @property
    def threat(self) -> Balances:
        """The balances."""
        return Balances(self.balance, self.steps)
