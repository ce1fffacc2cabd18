"""Blurs of lenses and cameras, in the severities of CIFAR-10-C (arXiv 1903.12261).

Its glass blur, pixels swapped one after the other, is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from attacks import ATTACKS
from attacks.corruption.common import CommonCorruption, Kind, scale_of
from attacks.corruption.fields import moved, smeared
from attacks.corruption.light import gaussian
from benchmark.core.streams import Streams


def disk(images: Tensor, radius: float) -> Tensor:
    """Images averaged over all pixels whose centres are within `radius`; edges go on outside."""
    reach = math.floor(radius)
    place = torch.arange(-reach, reach + 1, device=images.device)
    kernel = (place[:, None] ** 2 + place**2 <= radius**2).to(images)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, -1, -1)
    wide = pad(images, (reach, reach, reach, reach), mode="replicate")
    averaged: Tensor = conv2d(wide, kernel, groups=images.shape[1])
    return averaged


def defocus_blur(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """A disk of light for every point, its edge softened."""
    radii = (0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)
    radius, soft = (scale_of(images) * length for length in radii[severity - 1])
    return gaussian(disk(images, radius).clamp(0, 1), soft)


def gaussian_blur(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """A Gaussian for every point."""
    return gaussian(images, scale_of(images) * (0.4, 0.6, 0.7, 0.8, 1)[severity - 1])


def motion_blur(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """The camera moves, within 45 degrees of the horizontal."""
    sigma = scale_of(images) * (1, 1.5, 2, 2, 2.5)[severity - 1]
    angle = math.pi / 2 * (rng.uniform().to(images) - 0.5)
    return smeared(images, angle, sigma)


def zoom_blur(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """The lens zooms in: the mean over enlargements by up to 5, ..., 25 per cent, and none."""
    zoomed = (moved(images, 0, 0, 1 + percent / 100) for percent in range(5 * severity + 1))
    return torch.stack([images, *zoomed]).mean(dim=0)


@ATTACKS.register
@dataclass(frozen=True)
class CommonBlur(CommonCorruption):
    """Defocus, Gaussian, motion and zoom blur."""

    name: ClassVar[str] = "blur_c"
    kinds: ClassVar[tuple[Kind, ...]] = (defocus_blur, gaussian_blur, motion_blur, zoom_blur)
