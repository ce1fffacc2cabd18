"""Random fields, and pictures moved or smeared: what weather and textures are made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate


def octaves(height: int, width: int) -> list[int]:
    """Sides of the lattices of `plasma`: each halves the meshes, the last is as fine as pixels.

    >>> octaves(8, 8)
    [2, 3, 5, 9]
    """
    levels = math.ceil(math.log2(max(height, width) - 1)) if max(height, width) > 2 else 0
    return [2**level + 1 for level in range(levels + 1)]


def plasma(numbers: Tensor, height: int, width: int, decay: float) -> Tensor:
    """A field (n, 1, height, width) in [-1, 1] of numbers in [-1, 1], (n, all lattice points).

    Midpoint displacement (Fournier, Fussell & Carpenter 1982): the field is interpolated between
    the points of a lattice, halved again and again; what each level adds is 1 / decay of the last.
    """
    sides = octaves(height, width)
    levels = torch.split(numbers, [side * side for side in sides], dim=1)
    weights = [decay**-level for level in range(len(sides))]
    field = torch.zeros(1, 1, height, width, dtype=numbers.dtype, device=numbers.device)
    for side, level, weight in zip(sides, levels, weights, strict=True):
        lattice = level.view(-1, 1, side, side)
        fine = interpolate(lattice, (height, width), mode="bilinear", align_corners=True)
        field = field + weight / sum(weights) * fine
    return field


def distances(images: Tensor) -> tuple[Tensor, Tensor]:
    """How far each pixel lies below and right of the first, the shorter way round the edges.

    In pixels, (height, 1) and (width,): where a kernel for `convolved` is sampled.
    """
    height, width = images.shape[-2:]
    down, right = (
        torch.fft.fftfreq(size, 1 / size, dtype=images.dtype, device=images.device)
        for size in (height, width)
    )
    return down[:, None], right


def convolved(points: Tensor, kernels: Tensor) -> Tensor:
    """A copy of the kernel at each point, times its value: both (..., height, width).

    What leaves at one edge comes back at the other (a circular convolution).
    """
    product = torch.fft.rfft2(points) * torch.fft.rfft2(kernels)
    copies: Tensor = torch.fft.irfft2(product, s=points.shape[-2:])
    return copies


def moved(images: Tensor, down: Tensor | float, right: Tensor | float, zoom: float = 1) -> Tensor:
    """Images enlarged about their centre, then moved by pixels, (n,); the edge goes on outside."""
    height, width = images.shape[2:]
    matrix = images.new_zeros(len(images), 2, 3)
    matrix[:, 0, 0] = matrix[:, 1, 1] = 1 / zoom
    matrix[:, 0, 2] = -2 * right / width
    matrix[:, 1, 2] = -2 * down / height
    grid = affine_grid(matrix, list(images.shape), align_corners=False)
    return grid_sample(images, grid, "bilinear", "border", align_corners=False)


def smeared(images: Tensor, angle: Tensor, sigma: float) -> Tensor:
    """Images as a camera that moves sees them: along the angles (n,), in radians from the right.

    Weights fall as a Gaussian of `sigma` pixels does, on one side, as a shutter leaves them.
    """
    steps = range(math.ceil(3 * sigma) + 1)
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in steps]
    down, right = angle.sin(), angle.cos()
    parts = (
        weight / sum(weights) * moved(images, step * down, step * right)
        for step, weight in zip(steps, weights, strict=True)
    )
    return torch.stack(list(parts)).sum(dim=0)
