"""The picture seen through another lens: stretched, from another side, or bent.

Finite sets, searched whole. Between pixels the image is interpolated, outside it is black.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.engine.exhaustive import Exhaustive, Variants, check_most, check_odd, even_steps
from attacks.engine.resampling import LATTICE, bicubic_field, own_places, seen_at
from benchmark.core.specs import check_numbers
from benchmark.core.streams import Streams
from benchmark.core.types import Family, Scales


class Stretch(NamedTuple):
    """Factors of width and height, and how far right a point is moved per pixel it stands lower."""

    wide: float
    high: float
    shear: float


STILL = Stretch(1, 1, 0)


@dataclass(frozen=True)
class Stretches(Variants):
    """Widths and heights scaled by 1 - scale to 1 + scale, sheared by -shear to shear."""

    scale: float
    shear: float
    steps: int
    norm: str = "spatial"

    def grid(self) -> list[Stretch]:
        """No stretch, then from the farthest to the nearest."""
        factors = [1 + step for step in even_steps(self.scale, self.steps)]
        shears = even_steps(self.shear, self.steps)
        stretches = set(itertools.starmap(Stretch, itertools.product(factors, factors, shears)))
        return [STILL, *sorted(stretches - {STILL}, key=self._farness, reverse=True)]

    def _farness(self, one: Stretch) -> tuple[float, Stretch]:
        scale = (abs(one.wide - 1) + abs(one.high - 1)) / (self.scale or 1)
        return scale + abs(one.shear) / (self.shear or 1), one

    def make(self, images: Tensor, variant: Stretch) -> Tensor:
        """Images scaled about their centre, then sheared: x' = wide x + shear y', y' = high y."""
        if variant == STILL:
            return images.clone()
        height, width = images.shape[2:]
        x, y = own_places(images).unbind(dim=2)
        back = (x - variant.shear * height / width * y) / variant.wide
        return seen_at(images, torch.stack([back, y / variant.high], dim=2))

    def __str__(self) -> str:
        return f"scale {self.scale:.4g}, shear {self.shear:.4g}"


CORNERS = torch.tensor([[-1, -1], [1, -1], [-1, 1], [1, 1]], dtype=torch.float64)
"""Upper left, upper right, lower left, lower right."""

Corners = tuple[float, float, float, float]
"""How far each corner is moved outwards along its diagonal, in sides of the image."""


def homography(corners: Tensor, targets: Tensor) -> Tensor:
    """The 3 x 3 matrix of the projective map that takes 4 `corners` (4, 2) to `targets` (4, 2).

    Each pair (x, y) to (u, v) gives u (g x + h y + 1) = a x + b y + c and the same for v with
    d, e, f (Heckbert 1989): 8 linear equations for 8 numbers. Everything is float64.
    """
    rows = []
    for (x, y), (u, v) in zip(corners.tolist(), targets.tolist(), strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    solved = torch.linalg.solve(corners.new_tensor(rows), targets.flatten())
    return torch.cat([solved, solved.new_ones(1)]).view(3, 3)


@dataclass(frozen=True)
class Views(Variants):
    """Each corner moved along its diagonal by -corner to corner, in `steps`, on its own."""

    corner: float
    steps: int
    norm: str = "spatial"

    def grid(self) -> list[Corners]:
        """The straight view, then from the farthest to the nearest."""
        moves = itertools.product(even_steps(self.corner, self.steps), repeat=4)
        far = sorted(set(moves), key=lambda one: (sum(map(abs, one)), one), reverse=True)
        return [(0.0,) * 4, *((a, b, c, d) for a, b, c, d in far if a or b or c or d)]

    def make(self, images: Tensor, variant: Corners) -> Tensor:
        """Images whose corners stand at CORNERS * (1 + 2 * move): a side is 2 long."""
        if not any(variant):
            return images.clone()
        moved = CORNERS * (1 + 2 * CORNERS.new_tensor(variant)[:, None])
        places = own_places(images)
        flat = torch.cat([places, torch.ones_like(places[..., :1])], dim=2)
        seen = flat @ homography(moved, CORNERS).T
        return seen_at(images, seen[..., :2] / seen[..., 2:])

    def __str__(self) -> str:
        return f"corners {self.corner:.4g} of a side"


class Bend(NamedTuple):
    """Which field, and how far its farthest point is moved, in sides of the image."""

    field: int
    size: float


def smooth_field(field: int, height: int, width: int) -> Tensor:
    """Smooth displacements, float64 (height, width, 2), the longest of length 1.

    A lattice of LATTICE x LATTICE moves, uniform in [-1, 1], from a stream of its own per field,
    the same on every machine and for every image.
    """
    draws = Streams.named(field + 1, "elastic field").take(slice(field, None))
    lattice = 2 * draws.uniform((2, LATTICE, LATTICE)).double() - 1
    moves = bicubic_field(lattice, height, width)[0]
    longest = float(moves.norm(dim=2).max())
    return moves / longest


@dataclass(frozen=True)
class Bends(Variants):
    """`fields` smooth fields, each at `sizes` sizes up to `bend` sides of the image."""

    bend: float
    fields: int
    sizes: int
    norm: str = "spatial"

    def grid(self) -> list[Bend | None]:
        """No bend, then from the largest size to the smallest."""
        if not self.bend:
            return [None]
        sizes = [self.bend * step / self.sizes for step in range(self.sizes, 0, -1)]
        return [None, *(Bend(field, size) for size in sizes for field in range(self.fields))]

    def make(self, images: Tensor, variant: Bend | None) -> Tensor:
        """Images whose pixels show what stands a field's displacement away."""
        if variant is None:
            return images.clone()
        field = smooth_field(variant.field, *images.shape[2:])
        return seen_at(images, own_places(images) + 2 * variant.size * field)

    def __str__(self) -> str:
        return f"bends {self.bend:.4g} of a side"


@ATTACKS.register
@dataclass(frozen=True)
class ScaleShear(Exhaustive):
    """Every scale of width and height and every shear on a grid."""

    name: ClassVar[str] = "scale_shear"
    family: ClassVar[Family] = "spatial"
    norm: ClassVar[str] = "spatial"
    low_and_high: ClassVar[Scales] = {"scale": (0.5, 1.5), "shear": (0.5, 1.5)}
    scale: float
    shear: float
    steps: int = 5

    def __post_init__(self) -> None:
        """Refuse what is no grid, or leaves nothing of an image."""
        check_numbers(self, least=1)
        check_odd(self, "steps")
        check_most(self, "scale", 0.9)

    @property
    def threat(self) -> Stretches:
        """The stretches."""
        return Stretches(self.scale, self.shear, self.steps)


@ATTACKS.register
@dataclass(frozen=True)
class Perspective(Exhaustive):
    """Every view with its corners on a grid."""

    name: ClassVar[str] = "perspective"
    family: ClassVar[Family] = "spatial"
    norm: ClassVar[str] = "spatial"
    low_and_high: ClassVar[Scales] = {"corner": (0.5, 1.5)}
    corner: float
    """How far a corner is moved in each direction, in sides of the image."""
    steps: int = 3

    def __post_init__(self) -> None:
        """Refuse what is no grid, or folds an image over."""
        check_numbers(self, least=1)
        check_odd(self, "steps")
        check_most(self, "corner", 0.2)

    @property
    def threat(self) -> Views:
        """The views."""
        return Views(self.corner, self.steps)


@ATTACKS.register
@dataclass(frozen=True)
class Elastic(Exhaustive):
    """Every one of a few smooth fields (Simard et al. 2003), drawn once for all images."""

    name: ClassVar[str] = "elastic"
    family: ClassVar[Family] = "spatial"
    norm: ClassVar[str] = "spatial"
    low_and_high: ClassVar[Scales] = {"bend": (0.5, 1.5)}
    bend: float
    """How far the farthest point is moved, in sides of the image."""
    fields: int = 40
    sizes: int = 3

    def __post_init__(self) -> None:
        """Refuse what would attack nothing."""
        check_numbers(self, least=1)

    @property
    def threat(self) -> Bends:
        """The bends."""
        return Bends(self.bend, self.fields, self.sizes)
