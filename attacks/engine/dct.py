"""The lowest frequencies of images, by the orthonormal two-dimensional DCT-II.

Coefficient (u, v) of an image (height, width) oscillates u / 2 times down and v / 2 times across.
The transform is a rotation: sums of squares are the same on both sides (Parseval).
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor


def basis(size: int) -> Tensor:
    """Waves of `size` pixels, float64 (size, size): row k is scale_k cos(pi k (i + 1/2) / size)."""
    place = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi / size * place[:, None] * (place + 0.5)) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves


def kept(size: int, share: float) -> int:
    """How many of `size` frequencies a share in [0, 1] are, never less than one.

    >>> [kept(8, share) for share in (0, 0.25, 0.3, 1)]
    [1, 2, 2, 8]
    """
    return max(1, round(share * size))


@lru_cache(maxsize=64)
def _lowest(size: int, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The projection onto the first `count` waves, (size, size). Nobody may write to it."""
    waves = basis(size)[:count]
    return (waves.T @ waves).to(dtype=dtype, device=device)


def lowest(images: Tensor, down: float, right: float) -> Tensor:
    """Images (..., height, width) of their lowest frequencies alone: shares of rows and columns.

    No image of these frequencies is nearer: what is left out is orthogonal to what stays.
    """
    height, width = images.shape[-2:]
    rows = _lowest(height, kept(height, down), images.dtype, images.device)
    columns = _lowest(width, kept(width, right), images.dtype, images.device)
    return rows @ images @ columns
