"""One square anywhere over the picture: what it may hold, where it may stand, how it is painted.

A corner is the first row and column of a square, int64 (n, 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from benchmark.core.specs import check_numbers
from benchmark.core.types import Attack, Family, Scales, Threat

SLACK = 1e-6
"""Pixels that moved by no more than this count as they were: rounding."""


@dataclass(frozen=True)
class AnySquare(Threat):
    """Any pixels in one square of `side` pixels, wherever it stands; all others as they were."""

    side: int
    norm: str = "patch"

    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """See `Threat.inside`: the box around all changed pixels is at most `side` each way."""
        changed = ((perturbed - images).abs() > SLACK).any(dim=1)
        return (extent(changed.any(dim=2)) <= self.side) & (extent(changed.any(1)) <= self.side)

    def __str__(self) -> str:
        return f"any square of {self.side} pixels"


def extent(lines: Tensor) -> Tensor:
    """How many lines, bool (n, length), from the first to the last that is true: int64 (n,).

    >>> extent(torch.tensor([[False, True, False, True], [False] * 4])).tolist()
    [3, 0]
    """
    first = lines.int().argmax(dim=1)
    after = lines.shape[1] - lines.flip(1).int().argmax(dim=1)
    return torch.where(lines.any(dim=1), after - first, 0)


def paint(images: Tensor, textures: Tensor, corners: Tensor) -> Tensor:
    """Images with a texture (n, channels, side, side) at the corner of each."""
    places = _places(images, textures.shape[-1], corners)
    return images.flatten(2).scatter(2, places, textures.flatten(2)).view_as(images)


def cut_out(images: Tensor, side: int, corners: Tensor) -> Tensor:
    """What `paint` would cover: (n, channels, side, side)."""
    cut = images.flatten(2).gather(2, _places(images, side, corners))
    return cut.view(*images.shape[:2], side, side)


def _places(images: Tensor, side: int, corners: Tensor) -> Tensor:
    """Where a square's pixels stand in a flattened channel, (n, channels, side * side)."""
    step = torch.arange(side, device=corners.device)
    rows, columns = (corners[:, :, None] + step).unbind(dim=1)
    places = (rows[:, :, None] * images.shape[3] + columns[:, None]).flatten(1)
    return places[:, None].expand(-1, images.shape[1], -1)


def within(corners: Tensor, images: Tensor, side: int) -> Tensor:
    """The nearest corners for which the square stays in the image."""
    last = corners.new_tensor(images.shape[2:]) - side
    return corners.clamp_min(0).minimum(last)


def at_step(step: int, stride: int, side: int, size: int) -> int:
    """First row (or column) of a square some strides from the edge of an image of `size`.

    >>> [at_step(step, 3, 2, 8) for step in range(4)]
    [0, 3, 6, 6]
    """
    return max(0, min(step * stride, size - side))


def does_not_fit(side: int, shape: tuple[int, ...]) -> str | None:
    """Why a square cannot stand in images (channels, height, width)."""
    if side > min(shape[1:]):
        return f"a square of {side} pixels does not fit an image of {min(shape[1:])}"
    return None


def does_not_reach(side: int, stride: int, places: int, shape: tuple[int, ...]) -> str | None:
    """Why squares on a grid leave pixels of an image out."""
    size = max(shape[1:])
    if (places - 1) * stride < size - side:
        return f"{places} places {stride} apart do not reach across {size} pixels"
    return None


@dataclass(frozen=True)
class SquareAttack(Attack):
    """What attacks with one free square have in common, however they search."""

    family: ClassVar[Family] = "patch"
    norm: ClassVar[str] = "patch"
    low_and_high: ClassVar[Scales] = {"side": (2 / 3, 1.5)}
    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    side: int

    def __post_init__(self) -> None:
        """Refuse what would attack nothing, such as 0 steps: it would read as robustness."""
        check_numbers(self, least=1)

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """The square has to fit."""
        return does_not_fit(self.side, shape)

    @property
    def threat(self) -> AnySquare:
        """The square."""
        return AnySquare(self.side)
