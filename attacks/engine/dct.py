"""Frequencies of images: the orthonormal two-dimensional DCT, and bands of it.

Coefficient (u, v) of an image (height, width) oscillates u / 2 times down and v / 2 times across.
The transform is a rotation: energies, sums of squares, are the same on both sides (Parseval).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def basis(size: int, like: Tensor) -> Tensor:
    """The DCT-II of `size` numbers, (size, size): row k is scale_k cos(pi k (i + 1/2) / size)."""
    place = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi / size * place[:, None] * (place + 0.5)) * math.sqrt(2 / size)
    waves[0] /= math.sqrt(2)
    return waves.to(like)


def dct(images: Tensor) -> Tensor:
    """Coefficients of images, both (..., height, width)."""
    height, width = images.shape[-2:]
    return basis(height, images) @ images @ basis(width, images).T


def undo_dct(coefficients: Tensor) -> Tensor:
    """Images of coefficients, both (..., height, width)."""
    height, width = coefficients.shape[-2:]
    return basis(height, coefficients).T @ coefficients @ basis(width, coefficients)


def low(images: Tensor, down: float, right: float) -> Tensor:
    """Which coefficients are the lowest `down` of the rows and `right` of the columns.

    Shares in (0, 1], rounded to whole rows and columns and never less than one; bool (height,
    width).
    """
    height, width = images.shape[-2:]
    rows, columns = max(1, round(down * height)), max(1, round(right * width))
    kept = torch.zeros(height, width, dtype=torch.bool, device=images.device)
    kept[:rows, :columns] = True
    return kept


def in_band(images: Tensor, band: Tensor) -> Tensor:
    """The part of images in a band, bool (height, width) of coefficients: the nearest such image."""
    return undo_dct(dct(images) * band)
