"""Colours replaced by others near them, the same everywhere in a picture, chosen by gradient.

Laidlaw & Feizi 2019 (ReColorAdv, arXiv 1906.00001): a function of colour given on a lattice, with
trilinear interpolation, in CIELUV (`attacks.engine.cieluv`). An image of one or two channels has no
colours: there it is a function of their values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import grid_sample, pad

from attacks import ATTACKS
from attacks.engine.cieluv import from_luv, to_luv
from attacks.engine.rendered import Rendered, Rendering, total_variation
from benchmark.core.types import Family, NormBall, Scales, Shape

ROUNDING = 1e-4
"""By which a move in CIELUV may seem longer than it is, in float32."""


@dataclass(frozen=True)
class Recolourings(Rendering):
    """Every colour moved by up to `eps` in each coordinate, linearly between points of a lattice.

    Coordinates are those of CIELUV, scaled to [0, 1]: 0.06, the paper's eps, is 6 of 100 of
    lightness and 12 of 200 of u and of v. Of one or two channels they are the channels.
    """

    eps: float
    points: int | None
    """Of lightness, of which u and v have twice as many; 16 if not given, as in the paper. Of one
    or two channels 8."""
    norm: str = "colour"

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """A move for each place of the lattice: the last dimension is the first coordinate."""
        channels = shape[0]
        if channels == 3:
            points = self.points or 16
            return (3, 2 * points, 2 * points, points)
        return (channels, *[1] * (3 - channels), *[self.points or 8] * channels)

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Images (n, 1 to 3, height, width) recoloured; beyond [0, 1] the lattice goes on flat."""
        if images.shape[1] < 3:
            return images + self._moves(images, chosen)
        colours = to_luv(images)
        return from_luv(colours + self._moves(colours, chosen))

    def _moves(self, colours: Tensor, chosen: Tensor) -> Tensor:
        places = pad(2 * colours.permute(0, 2, 3, 1) - 1, (0, 3 - colours.shape[1]))
        moves = grid_sample(chosen, places[:, None], "bilinear", "border", align_corners=True)
        return self.eps * moves[:, :, 0]

    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """See `Threat.inside`: so far no pixel moves, whatever the function.

        In CIELUV without those that have a channel at an end of [0, 1]: cutting moves a colour.
        """
        if images.shape[1] < 3:
            return NormBall("linf", self.eps).inside(images, perturbed)
        moved = (to_luv(perturbed.double()) - to_luv(images.double())).abs().amax(dim=1)
        cut = ((perturbed == 0) | (perturbed == 1)).any(dim=1)
        return ((moved <= self.eps + ROUNDING) | cut).flatten(1).all(dim=1)

    def __str__(self) -> str:
        return f"colours moved by {self.eps:.4g}"


@ATTACKS.register
@dataclass(frozen=True)
class Recolour(Rendered):
    """The worst function of colour, kept smooth."""

    name: ClassVar[str] = "recolour"
    family: ClassVar[Family] = "colour"
    norm: ClassVar[str] = "colour"
    version: ClassVar[int] = 2
    low_and_high: ClassVar[Scales] = {"eps": (0.5, 1.5)}
    start: ClassVar[float] = 0.01
    eps: float = field(kw_only=True)
    """See `Recolourings`."""
    points: int | None = None
    """See `Recolourings`."""
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
