"""A picture that flows: every pixel shows what stands elsewhere, and gradients choose where.

Xiao et al. 2018 (stAdv, arXiv 1801.02612) move every pixel on its own and keep neighbours together
by a penalty. `pgd_elastic` bends as `elastic` does, but chooses the moves of its lattice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from attacks import ATTACKS
from attacks.engine.rendered import Rendered, Rendering, total_variation
from attacks.engine.resampling import LATTICE, bicubic_field, own_places, seen_at
from benchmark.core.types import Family, Scales, Shape


@dataclass(frozen=True)
class Flows(Rendering):
    """Every pixel shows what stands up to `flow` pixels from it in each direction."""

    flow: float
    norm: str = "spatial"

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """Right and down for every pixel, in units of `flow`."""
        return (2, *shape[1:])

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Images that have flowed; outside, the edge goes on."""
        height, width = images.shape[2:]
        pixel = chosen.new_tensor([2 / width, 2 / height])
        moves = self.flow * pixel * chosen.permute(0, 2, 3, 1)
        return seen_at(images, own_places(images).to(moves) + moves, outside="border")

    def __str__(self) -> str:
        return f"flow {self.flow:.4g} pixels"


@dataclass(frozen=True)
class SmoothFlows(Rendering):
    """Fields that are bicubic on a lattice, the farthest point moved by up to `bend` sides."""

    bend: float
    norm: str = "spatial"

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """Right and down for every place of the lattice, in units of `bend`."""
        return (2, LATTICE, LATTICE)

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Images bent; a field that goes too far is scaled down as a whole. Outside it is black."""
        fields = bicubic_field(chosen, images.shape[2], images.shape[3])
        longest = fields.norm(dim=3).flatten(1).amax(dim=1).clamp_min(1)
        moves = 2 * self.bend * fields / longest.view(-1, 1, 1, 1)
        return seen_at(images, own_places(images).to(moves) + moves)

    def __str__(self) -> str:
        return f"bends {self.bend:.4g} of a side"


@ATTACKS.register
@dataclass(frozen=True)
class StAdv(Rendered):
    """The flow of every pixel, kept smooth.

    The paper minimises the margin plus the penalty by L-BFGS; here the flow is bounded too, as a
    threat must be, and climbs the cross-entropy by the sign.
    """

    name: ClassVar[str] = "stadv"
    family: ClassVar[Family] = "spatial"
    norm: ClassVar[str] = "spatial"
    low_and_high: ClassVar[Scales] = {"flow": (0.5, 1.5)}
    start: ClassVar[float] = 0.01
    flow: float = field(kw_only=True)
    """In pixels, for right and down each."""
    smoothness: float = 0.25
    """Weight of the total variation of the flow in units of `flow`: see `Rendered.penalty`."""

    @property
    def threat(self) -> Flows:
        """The flows."""
        return Flows(self.flow)

    def penalty(self, chosen: Tensor) -> Tensor:
        """Neighbours that part."""
        return self.smoothness * total_variation(chosen)


@ATTACKS.register
@dataclass(frozen=True)
class PGDElastic(Rendered):
    """The worst bend: what `elastic` draws once for all images is chosen for each."""

    name: ClassVar[str] = "pgd_elastic"
    family: ClassVar[Family] = "spatial"
    norm: ClassVar[str] = "spatial"
    low_and_high: ClassVar[Scales] = {"bend": (0.5, 1.5)}
    bend: float = field(kw_only=True)
    """How far the farthest point is moved, in sides of the image."""
    steps: int = 10
    restarts: int = 10

    @property
    def threat(self) -> SmoothFlows:
        """The bends."""
        return SmoothFlows(self.bend)
