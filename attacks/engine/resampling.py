"""An image seen at other places: where its pixels stand, what is there, and smooth moves.

A place is (x, y) with the image's edges at -1 and 1, as in `torch.nn.functional.grid_sample`.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

LATTICE = 4
"""Places per direction where a bent image is moved; between them the field is bicubic."""


def own_places(images: Tensor) -> Tensor:
    """Where each pixel stands, float64 (height, width, 2)."""
    height, width = images.shape[2:]
    still = torch.eye(2, 3, dtype=torch.float64)[None]
    return affine_grid(still, [1, 1, height, width], align_corners=False)[0]


def seen_at(
    images: Tensor, places: Tensor, outside: Literal["zeros", "border"] = "zeros"
) -> Tensor:
    """Images whose pixels show the old image at `places`, interpolated, in [0, 1].

    `places`, ([n,] height, width, 2), are those of every image or of each its own. Outside the
    image it is black, or as at the nearest place of its `border`.
    """
    grid = places.to(images).expand(len(images), -1, -1, -1)
    return grid_sample(images, grid, "bilinear", outside, align_corners=False).clamp(0, 1)


def bicubic_field(lattice: Tensor, height: int, width: int) -> Tensor:
    """Fields (n, height, width, 2) through the moves of a `lattice` (n, 2, LATTICE, LATTICE).

    The lattice's outermost moves are those of the outermost pixels.
    """
    fine = interpolate(lattice, (height, width), mode="bicubic", align_corners=True)
    return fine.permute(0, 2, 3, 1)
