"""Rotation and translation (Engstrom et al. 2019, arXiv 1712.02779): a finite set, searched whole.

A pose is (angle in degrees, right, down), shifts in whole pixels. The image turns about its
centre, then moves; between pixels it is interpolated, outside it is black.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from attacks import ATTACKS
from attacks.engine.exhaustive import Exhaustive, Variants, check_odd, even_steps
from benchmark.core.errors import UsageError
from benchmark.core.types import Family, Scales


class Pose(NamedTuple):
    """Degrees counter-clockwise, then pixels to the right and down."""

    angle: float
    right: int
    down: int


def move(images: Tensor, pose: Pose) -> Tensor:
    """Images in this pose, same shape, in [0, 1]. The pose (0, 0, 0) gives them back exactly."""
    if not any(pose):
        return images.clone()
    height, width = images.shape[2:]
    cos, sin = math.cos(math.radians(pose.angle)), math.sin(math.radians(pose.angle))
    # Where an output point comes from, in pixels from the centre: undo the shift, then the turn.
    back_x = -cos * pose.right + sin * pose.down
    back_y = -sin * pose.right - cos * pose.down
    theta = torch.tensor(
        [
            [cos, -sin * height / width, 2 * back_x / width],
            [sin * width / height, cos, 2 * back_y / height],
        ],
        dtype=images.dtype,
        device=images.device,
    )
    size = list(images.shape)
    grid = affine_grid(theta.expand(len(images), 2, 3), size, align_corners=False)
    moved = grid_sample(images, grid, "bilinear", "zeros", align_corners=False)
    return moved.clamp(0, 1)


@dataclass(frozen=True)
class Poses(Variants):
    """All poses on a grid: `angles` from -degrees to degrees, `shifts` from -shift to shift.

    Shifts are rounded to whole pixels (halves to even), and equal ones counted once.
    """

    degrees: float
    shift: int
    angles: int
    shifts: int
    norm: str = "spatial"

    def grid(self) -> list[Pose]:
        """The original pose first, then from the farthest to the nearest: early hits are cheap."""
        turns = even_steps(self.degrees, self.angles)
        pixels = sorted({round(step) for step in even_steps(self.shift, self.shifts)})
        poses = {Pose(turn, right, down) for turn in turns for right in pixels for down in pixels}
        far = sorted(poses - {Pose(0, 0, 0)}, key=self._farness, reverse=True)
        return [Pose(0, 0, 0), *far]

    def _farness(self, pose: Pose) -> tuple[float, Pose]:
        pixels = (abs(pose.right) + abs(pose.down)) / max(1, self.shift)
        return abs(pose.angle) / max(1.0, self.degrees) + pixels, pose

    def make(self, images: Tensor, variant: Pose) -> Tensor:
        """See `move`."""
        return move(images, variant)

    def __str__(self) -> str:
        return f"{self.degrees:.4g} degrees, {self.shift} pixels"


@ATTACKS.register
@dataclass(frozen=True)
class RotationTranslation(Exhaustive):
    """Every rotation and translation on a grid."""

    name: ClassVar[str] = "rotation_translation"
    family: ClassVar[Family] = "spatial"
    norm: ClassVar[str] = "spatial"
    low_and_high: ClassVar[Scales] = {"degrees": (0.5, 1.5), "shift": (0.5, 1.5)}
    degrees: float
    shift: int
    angles: int = 31
    shifts: int = 5

    def __post_init__(self) -> None:
        """Refuse a grid that misses the original pose or is no grid."""
        check_odd(self, "angles", "shifts")
        if not (0 <= self.degrees <= 180 and self.shift >= 0):
            raise UsageError(
                f"{self.name}: expected degrees from 0 to 180 and shift >= 0 pixels, "
                f"got degrees={self.degrees:g}, shift={self.shift}"
            )

    @property
    def threat(self) -> Poses:
        """The grid."""
        return Poses(self.degrees, self.shift, self.angles, self.shifts)
