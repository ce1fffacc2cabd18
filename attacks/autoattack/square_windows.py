"""Sizes and places of the squares of Square (Andriushchenko et al. 2020), an own one per image."""

from __future__ import annotations

from bisect import bisect_left
from functools import cache
from math import sqrt

import torch
from torch import Tensor

SHARE = 0.8
"""Share of the image that the first squares cover (p_init)."""
PHASES = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]
"""After each of these queries the share is halved, however many queries there are in all."""


def phase_of(query: int) -> int:
    """How often the share was halved before a query.

    >>> [phase_of(query) for query in (0, 10, 11, 4999)]
    [0, 0, 1, 7]
    """
    return bisect_left(PHASES, query)


def side_of(query: int, height: int, width: int, norm: str) -> int:
    """Side of the square of a query, in pixels; in l2 odd and at least 3.

    >>> [side_of(query, 32, 32, "linf") for query in (0, 100, 4500)]
    [29, 14, 3]
    """
    side = round(sqrt(SHARE / 2 ** phase_of(query) * height * width))
    if norm == "l2":
        side = max(side, 3)
        side += 1 - side % 2
    return min(max(side, 1), height, width)


def corner(uniform: Tensor, length: int, side: Tensor | int) -> Tensor:
    """First row (or column) of a square of `side` in an image of `length`: int64, from [0, 1).

    As published, the last place is left out unless there is no other.
    """
    return (uniform * (length - side)).long()


def window(top: Tensor, left: Tensor, side: Tensor, most: int, width: int) -> Tensor:
    """Places in the flattened image of squares of `side` <= `most`: (..., most * most), int64.

    Smaller squares repeat places, so that all have as many.
    """
    step = torch.minimum(torch.arange(most, device=top.device), side[..., None] - 1)
    rows, columns = top[..., None] + step, left[..., None] + step
    return (rows[..., :, None] * width + columns[..., None, :]).flatten(-2)


@cache
def channel_windows(most: int, channels: int, height: int, width: int) -> Tensor:
    """Places of squares of side 0 to `most` in the first corner of a flattened image.

    Returns (most + 1, channels * most * most), see `window`.
    """
    side = torch.arange(most + 1).clamp_min(1)
    corner = torch.zeros_like(side)
    places = window(corner, corner, side, most, width)
    planes = torch.arange(channels) * (height * width)
    return (planes[:, None] + places[:, None]).flatten(1)


@cache
def bumps(side: int) -> Tensor:
    """The pattern of l2 squares, of norm 1, upright and turned: (2, side * side).

    Two peaks of opposite signs, one in each half (section 3.2 of the paper).
    """
    pattern = torch.zeros(side, side)
    pattern[: side // 2] = _peak(side // 2, side)
    pattern[side // 2 :] = -_peak(side - side // 2, side)
    pattern /= pattern.norm()
    return torch.stack([pattern, pattern.T]).flatten(1)


def _peak(height: int, width: int) -> Tensor:
    """Squares around the centre, each one higher by 1 / (their number so far)^2; of norm 1."""
    pattern = torch.zeros(height, width)
    middle, centre = height // 2, width // 2
    for ring in range(max(middle, centre) + 1):
        rows = slice(max(middle - ring, 0), min(middle + ring + 1, height))
        columns = slice(max(centre - ring, 0), min(centre + ring + 1, width))
        pattern[rows, columns] += 1 / (ring + 1) ** 2
    return pattern.div_(pattern.norm().clamp_min(1e-12))


def tiles(height: int, width: int) -> list[tuple[int, int, int]]:
    """Top, left and side of the squares that l2 starts from: a grid of about five by five."""
    side = max(height // 5, 1)
    first = (height - side * 5) // 2
    return [
        (top, left, side)
        for top in range(first, height - side + 1, side)
        for left in range(first, width - side + 1, side)
    ]
