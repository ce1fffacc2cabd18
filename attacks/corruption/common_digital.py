"""What processing does to an image, in the severities of CIFAR-10-C (arXiv 1903.12261)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from attacks import ATTACKS
from attacks.corruption.common import CommonCorruption, Kind
from attacks.corruption.jpeg import coefficients, needs_colours, pixels, steps
from attacks.corruption.light import gaussian
from benchmark.core.streams import Streams

ANCHORS = torch.tensor([[2, 2], [2, -2], [-2, -2]]) / 3
"""Three places (x, y), with the image's edges at -1 and 1, that an affine map moves at random."""


def contrast(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """Each channel nearer to its mean."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1] * (images - mean)


def elastic(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """Three places moved at random and the image with them; then each pixel, smoothly."""
    size, smooth, tilt = (
        (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03),
    )[severity - 1]  # fmt: skip
    anchors = ANCHORS.to(images)
    moves = 2 * tilt * (2 * rng.uniform((3, 2)).to(images) - 1)
    known = torch.cat([anchors, torch.ones_like(anchors[:, :1])], dim=1)
    matrix = (torch.linalg.inv(known) @ (anchors + moves)).transpose(1, 2)
    grid = affine_grid(matrix, list(images.shape), align_corners=False)
    noise = rng.uniform((2, *images.shape[2:])).to(images)
    bend = 2 * gaussian(noise, smooth * min(images.shape[2:])) - 1
    grid = grid + 2 * size * bend.permute(0, 2, 3, 1)
    return grid_sample(images, grid, "bilinear", "reflection", align_corners=False)


def pixelate(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """A coarser image, each of whose pixels is the mean of those nearer to it than half a step."""
    share = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
    height, width = images.shape[2:]
    down, right = (box(size, int(share * size)).to(images) for size in (height, width))
    return interpolate(down @ images @ right.T, (height, width), mode="nearest-exact")


def box(size: int, coarse: int) -> Tensor:
    """The weights (coarse, size) with which fine pixels make up each coarse one."""
    centres = (torch.arange(coarse) + 0.5) * size / coarse
    near = (torch.arange(size) + 0.5 - centres[:, None]).abs() <= 0.5 * size / coarse
    return near / near.sum(dim=1, keepdim=True)


def jpeg_compression(images: Tensor, severity: int, rng: Streams) -> Tensor:
    """A JPEG file of quality 80 down to 40."""
    quality = (80, 65, 58, 50, 40)[severity - 1]
    channels, height, width = images.shape[1:]
    step = steps(channels, quality).to(images)
    rounded = (coefficients(images - 0.5) / step).round() * step
    return pixels(rounded, height, width) + 0.5


@ATTACKS.register
@dataclass(frozen=True)
class CommonDigital(CommonCorruption):
    """Contrast, elastic distortion, coarse pixels and JPEG."""

    name: ClassVar[str] = "digital_c"
    kinds: ClassVar[tuple[Kind, ...]] = (contrast, elastic, pixelate, jpeg_compression)

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """JPEG knows grey and colour."""
        return needs_colours(shape)
