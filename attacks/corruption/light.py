"""Natural changes of a whole picture at their worst: light and blur.

Hendrycks & Dietterich (2019) draw such corruptions at random; here every one is tried.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from attacks import ATTACKS
from attacks.engine.exhaustive import Exhaustive, Variants, check_odd, even_steps
from benchmark.core.errors import UsageError
from benchmark.core.specs import check_numbers
from benchmark.core.types import Family, Scales


class Light(NamedTuple):
    """Pixels become (x - 1/2) * gain + 1/2 + shift, cut to [0, 1]."""

    gain: float
    shift: float


@dataclass(frozen=True)
class Lights(Variants):
    """Gains from 1 - contrast to 1 + contrast, shifts from -brightness to brightness."""

    contrast: float
    brightness: float
    steps: int
    norm: str = "corruption"

    def grid(self) -> list[Light]:
        """The original light first, then from the farthest to the nearest."""
        gains = [1 + step for step in even_steps(self.contrast, self.steps)]
        shifts = even_steps(self.brightness, self.steps)
        lights = {Light(gain, shift) for gain in gains for shift in shifts} - {Light(1, 0)}
        far = sorted(lights, key=lambda one: (abs(one.gain - 1) + abs(one.shift), one))
        return [Light(1, 0), *reversed(far)]

    def make(self, images: Tensor, variant: Light) -> Tensor:
        """Images in this light."""
        if variant == Light(1, 0):
            return images.clone()
        return ((images - 0.5) * variant.gain + (0.5 + variant.shift)).clamp(0, 1)

    def __str__(self) -> str:
        return f"contrast {self.contrast:.4g}, brightness {self.brightness:.4g}"


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Images blurred by a Gaussian of `sigma` pixels; beyond the edge its pixels go on."""
    if not sigma:
        return images.clone()
    radius = math.ceil(3 * sigma)
    place = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (place / sigma).square())
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    wide = pad(images, (radius, radius, radius, radius), mode="replicate")
    rows = conv2d(wide, kernel, groups=images.shape[1])
    blurred: Tensor = conv2d(rows, kernel.transpose(2, 3), groups=images.shape[1])
    return blurred.clamp(0, 1)


@dataclass(frozen=True)
class Blurs(Variants):
    """Gaussian blurs from none to `sigma` pixels."""

    sigma: float
    steps: int
    norm: str = "corruption"

    def grid(self) -> list[float]:
        """No blur, then from the widest to the narrowest."""
        return [0.0, *(self.sigma * step / self.steps for step in range(self.steps, 0, -1))]

    def make(self, images: Tensor, variant: float) -> Tensor:
        """See `gaussian`."""
        return gaussian(images, variant)

    def __str__(self) -> str:
        return f"blur {self.sigma:.4g} pixels"


@ATTACKS.register
@dataclass(frozen=True)
class BrightnessContrast(Exhaustive):
    """Every brightness and contrast on a grid."""

    name: ClassVar[str] = "brightness_contrast"
    family: ClassVar[Family] = "corruption"
    norm: ClassVar[str] = "corruption"
    low_and_high: ClassVar[Scales] = {"contrast": (0.5, 1.5), "brightness": (0.5, 1.5)}
    contrast: float
    brightness: float
    steps: int = 9

    def __post_init__(self) -> None:
        """Refuse what is no grid, or turns an image into its negative."""
        check_numbers(self, least=1)
        check_odd(self, "steps")
        if self.contrast >= 1:
            raise UsageError(f"{self.name}[contrast={self.contrast:g}]: expected less than 1")

    @property
    def threat(self) -> Lights:
        """The grid."""
        return Lights(self.contrast, self.brightness, self.steps)


@ATTACKS.register
@dataclass(frozen=True)
class Blur(Exhaustive):
    """Every Gaussian blur up to a width."""

    name: ClassVar[str] = "blur"
    family: ClassVar[Family] = "corruption"
    norm: ClassVar[str] = "corruption"
    low_and_high: ClassVar[Scales] = {"sigma": (0.5, 2.0)}
    sigma: float
    widths: int = 10

    def __post_init__(self) -> None:
        """Refuse what would attack nothing."""
        check_numbers(self, least=1)

    @property
    def threat(self) -> Blurs:
        """The widths."""
        return Blurs(self.sigma, self.widths)
