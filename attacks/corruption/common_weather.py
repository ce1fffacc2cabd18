"""Snow, fog and bright light, in the severities of CIFAR-10-C (arXiv 1903.12261).

Its frost, which needs pictures of ice, is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from attacks import ATTACKS
from attacks.corruption.common import CommonCorruption, Kind, scale_of
from attacks.corruption.fields import octaves, plasma, smeared
from benchmark.core.streams import Streams

GREY = (0.299, 0.587, 0.114)
"""How much red, green and blue count in the luma."""


def snow(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """Bright spots of normal noise, enlarged, smeared by the fall, and laid on twice."""
    mean, spread, zoom, threshold, fall, kept = (
        (0.1, 0.2, 1, 0.6, 3, 0.95), (0.1, 0.2, 1, 0.5, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 12, 0.8),
    )[severity - 1]  # fmt: skip
    height, width = images.shape[2:]
    coarse = [math.ceil(side / max(1, zoom * scale_of(images))) for side in (height, width)]
    noise = mean + spread * rng.normal((1, *coarse)).to(images)
    flakes = interpolate(noise, (height, width), mode="bilinear").clamp(0, 1)
    angle = -math.pi / 2 * (rng.uniform().to(images) + 0.5)
    fallen = smeared(flakes * (flakes >= threshold), angle, scale_of(images) * fall)
    white = torch.maximum(images, 1.5 * luma(images) + 0.5)
    return kept * images + (1 - kept) * white + fallen + fallen.flip(2, 3)


def luma(images: Tensor) -> Tensor:
    """The brightness (n, 1, height, width) of images of 3 channels or any other number."""
    if images.shape[1] != len(GREY):
        return images.mean(dim=1, keepdim=True)
    return (images * images.new_tensor(GREY).view(3, 1, 1)).sum(dim=1, keepdim=True)


def fog(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """A fractal field from 0 to 1 added; the brightest pixel stays as bright as it was."""
    thick, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[severity - 1]
    height, width = images.shape[2:]
    count = sum(side * side for side in octaves(height, width))
    field = plasma(2 * rng.uniform((count,)).to(images) - 1, height, width, decay)
    low, high = field.amin(dim=(2, 3), keepdim=True), field.amax(dim=(2, 3), keepdim=True)
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    fogged = images + thick * (field - low) / (high - low)
    return fogged * brightest / (brightest + thick)


def brightness(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """More of the value of HSV, the brightest channel; hue and saturation stay."""
    more = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    value = images.amax(dim=1, keepdim=True)
    new = (value + more).clamp(max=1)
    return torch.where(value > 0, images * new / value.clamp_min(1e-12), new)


@ATTACKS.register
@dataclass(frozen=True)
class CommonWeather(CommonCorruption):
    """Snow, fog and brightness."""

    name: ClassVar[str] = "weather_c"
    kinds: ClassVar[tuple[Kind, ...]] = (snow, fog, brightness)
