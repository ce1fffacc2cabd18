"""Turned, moved, scaled and sheared at once, chosen by gradient.

Engstrom et al. 2019 (arXiv 1712.02779) found gradients weaker than a grid where all that is chosen
is a turn and a move. Here are six numbers, of which no grid is small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.engine.exhaustive import check_most
from attacks.engine.rendered import Rendered, Rendering
from attacks.engine.resampling import own_places, seen_at
from benchmark.core.types import Family, Scales, Shape


@dataclass(frozen=True)
class Affine(Rendering):
    """All that lies in the ranges of both `rotation_translation` and `scale_shear`.

    An image is scaled, sheared and turned about its centre, then moved.
    """

    degrees: float
    shift: float
    scale: float
    shear: float
    norm: str = "spatial"

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """Turn counter-clockwise, right, down, width, height, shear, in units of their ranges."""
        return (6,)

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Where each pixel comes from, in pixels from the centre: undo one after the other."""
        turn, right, down, wide, high, shear = chosen[..., None, None].unbind(1)
        half = chosen.new_tensor([images.shape[3] / 2, images.shape[2] / 2])
        x, y = (own_places(images).to(chosen) * half).unbind(2)
        x, y = x - self.shift * right, y - self.shift * down
        angle = math.radians(self.degrees) * turn
        x, y = angle.cos() * x - angle.sin() * y, angle.sin() * x + angle.cos() * y
        x = (x - self.shear * shear * y) / (1 + self.scale * wide)
        y = y / (1 + self.scale * high)
        return seen_at(images, torch.stack([x, y], dim=3) / half)

    def __str__(self) -> str:
        return (
            f"{self.degrees:.4g} degrees, {self.shift:.4g} pixels, scale {self.scale:.4g}, "
            f"shear {self.shear:.4g}"
        )


@ATTACKS.register
@dataclass(frozen=True)
class PGDAffine(Rendered):
    """The worst affine map: many short searches, since its loss has many optima."""

    name: ClassVar[str] = "pgd_affine"
    family: ClassVar[Family] = "spatial"
    norm: ClassVar[str] = "spatial"
    low_and_high: ClassVar[Scales] = {
        "degrees": (0.5, 1.5), "shift": (0.5, 1.5), "scale": (0.5, 1.5), "shear": (0.5, 1.5),
    }  # fmt: skip
    degrees: float = field(kw_only=True)
    shift: float = field(kw_only=True)
    """In pixels, and not whole ones alone."""
    scale: float = field(kw_only=True)
    shear: float = field(kw_only=True)
    steps: int = 5
    restarts: int = 20

    def __post_init__(self) -> None:
        """Refuse what leaves nothing of an image; whole numbers in tables, 0 too, are sizes."""
        for size in ("degrees", "shift", "scale", "shear"):
            object.__setattr__(self, size, float(getattr(self, size)))
        super().__post_init__()
        check_most(self, "degrees", 180)
        check_most(self, "scale", 0.9)

    @property
    def threat(self) -> Affine:
        """The maps."""
        return Affine(self.degrees, self.shift, self.scale, self.shear)
