"""A square of one colour anywhere over the picture: cutout (DeVries & Taylor 2017) at its worst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from attacks import ATTACKS
from attacks.engine.exhaustive import Exhaustive, Variants
from attacks.patch.squares import at_step, does_not_fit, does_not_reach
from benchmark.core.errors import UsageError
from benchmark.core.specs import check_numbers
from benchmark.core.types import Family, Scales


class Cover(NamedTuple):
    """A square's first row and column, in steps."""

    down: int
    right: int


@dataclass(frozen=True)
class Covers(Variants):
    """Squares of `side` pixels and one `colour`, `stride` apart, none over the edge."""

    side: int
    stride: int
    most: int
    """Steps in each direction; those that leave the image stop at its edge."""
    colour: float
    norm: str = "patch"

    def grid(self) -> list[Cover | None]:
        """No square, then all of them, row by row."""
        steps = range(self.most)
        return [None, *(Cover(down, right) for down in steps for right in steps)]

    def make(self, images: Tensor, variant: Cover | None) -> Tensor:
        """Images under the square."""
        covered = images.clone()
        if variant is not None:
            top, left = (
                at_step(step, self.stride, self.side, size)
                for step, size in zip(variant, images.shape[2:], strict=True)
            )
            covered[:, :, top : top + self.side, left : left + self.side] = self.colour
        return covered

    def __str__(self) -> str:
        return f"a square of {self.side} pixels"


@ATTACKS.register
@dataclass(frozen=True)
class Occlusion(Exhaustive):
    """Every square of one size and colour."""

    name: ClassVar[str] = "occlusion"
    family: ClassVar[Family] = "patch"
    norm: ClassVar[str] = "patch"
    low_and_high: ClassVar[Scales] = {"side": (2 / 3, 1.5), "places": (1.5, 1.0)}
    side: int
    stride: int = 1
    places: int = 7
    """Per direction; together with the stride they have to reach the far edge."""
    colour: float = 0.0
    """In [0, 1], of all channels; 0 is black."""

    def __post_init__(self) -> None:
        """Refuse what would attack nothing."""
        check_numbers(self, least=1)
        if self.colour > 1:
            raise UsageError(f"{self.name}[colour={self.colour:g}]: expected a number in [0, 1]")

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """The square has to fit, and its places to reach the far edge."""
        return does_not_fit(self.side, shape) or does_not_reach(
            self.side, self.stride, self.places, shape
        )

    @property
    def threat(self) -> Covers:
        """The squares."""
        return Covers(self.side, self.stride, self.places, self.colour)
