"""Noise of sensors and wires, in the severities of CIFAR-10-C (arXiv 1903.12261)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.corruption.common import CommonCorruption, Kind
from benchmark.core.streams import Streams


def normal(images: Tensor, rng: Streams) -> Tensor:
    """Standard normal numbers, one for each number of the images."""
    return rng.normal(tuple(images.shape[1:])).to(images)


def gaussian_noise(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """Normal numbers of one size added, as in bad light."""
    return images + (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1] * normal(images, rng)


def shot_noise(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """Photons counted: Poisson, with so many expected from a white pixel.

    The quantile of a Poisson number, to second order, is mean + z sqrt(mean) + (z^2 - 1) / 6
    (Cornish & Fisher 1938), then rounded; black gives no photon.
    """
    photons = (500, 250, 100, 75, 50)[severity - 1]
    mean, z = photons * images, normal(images, rng)
    count = (mean + z * mean.sqrt() + (z.square() - 1) / 6).round().clamp_min(0)
    return torch.where(mean > 0, count / photons, 0.0)


def impulse_noise(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """A share of the numbers at 0 or 1, as lost bits leave them."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    draw = rng.uniform(tuple(images.shape[1:])).to(images)
    return torch.where(draw < share, (draw < share / 2).to(images), images)


def speckle_noise(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """Normal numbers that grow with the brightness."""
    size = (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1]
    return images * (1 + size * normal(images, rng))


@ATTACKS.register
@dataclass(frozen=True)
class CommonNoise(CommonCorruption):
    """Gaussian, shot, impulse and speckle noise."""

    name: ClassVar[str] = "noise_c"
    kinds: ClassVar[tuple[Kind, ...]] = (gaussian_noise, shot_noise, impulse_noise, speckle_noise)
