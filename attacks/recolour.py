"""Colours replaced by others near them, the same everywhere in a picture, chosen by gradient.

Laidlaw & Feizi 2019 (ReColorAdv, arXiv 1906.00001): a function of colour given on a lattice, with
trilinear interpolation. Here colours are red, green and blue, or tones, where the paper prefers
CIELUV.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import grid_sample, pad

from attacks import ATTACKS
from attacks.engine.rendered import Rendered, Rendering, total_variation
from benchmark.core.types import Family, NormBall, Scales, Shape


@dataclass(frozen=True)
class Recolourings(Rendering):
    """Every colour moved by up to `eps` in each channel, linearly between `points` a channel."""

    eps: float
    points: int
    norm: str = "colour"

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """A move for each place of the lattice: the last dimension is that of the first channel."""
        channels = shape[0]
        return (channels, *[1] * (3 - channels), *[self.points] * channels)

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Images (n, 1 to 3, height, width) recoloured; black and white are ends of the lattice."""
        colours = pad(2 * images.permute(0, 2, 3, 1) - 1, (0, 3 - images.shape[1]))
        moves = grid_sample(chosen, colours[:, None], "bilinear", "border", align_corners=True)
        return images + self.eps * moves[:, :, 0]

    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """See `Threat.inside`: so far no pixel moves, whatever the function."""
        return NormBall("linf", self.eps).inside(images, perturbed)

    def __str__(self) -> str:
        return f"colours moved by {self.eps:.4g}"


@ATTACKS.register
@dataclass(frozen=True)
class Recolour(Rendered):
    """The worst function of colour, kept smooth."""

    name: ClassVar[str] = "recolour"
    family: ClassVar[Family] = "colour"
    norm: ClassVar[str] = "colour"
    low_and_high: ClassVar[Scales] = {"eps": (0.5, 1.5)}
    start: ClassVar[float] = 0.01
    eps: float = field(kw_only=True)
    points: int = 8
    smoothness: float = 0.25
    """Weight of the total variation of the moves in units of `eps`: see `Rendered.penalty`."""

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """A lattice has three dimensions at most."""
        return None if shape[0] <= 3 else f"colours have 1 to 3 channels, these {shape[0]}"

    @property
    def threat(self) -> Recolourings:
        """The functions."""
        return Recolourings(self.eps, self.points)

    def penalty(self, chosen: Tensor) -> Tensor:
        """Like colours that part."""
        return self.smoothness * total_variation(chosen)
