"""Patterns laid over an image: Gabor noise, the rings of wood, polygons.

As in ImageNet-UA (Kaufmann, Kang et al. 2019, arXiv 1908.08016): chance draws where and how fine a
pattern is, the attacker what is in it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from attacks import ATTACKS
from attacks.corruption.fields import convolved, distances
from attacks.corruption.optimised import OptimisedCorruption, Scene, blend, half
from benchmark.core.types import Scales, Shape

SPARSE = 0.05
"""The share of pixels, of an image of 32 pixels, that a wave of Gabor noise may start from."""
LATTICE = 6
"""Places per direction where the rings of wood are bent; between them the bend is bicubic."""
BROWN = (0.75, 0.5, 0.3)
"""The light rings of wood; the first alone in an image of one channel."""
POLYGONS = 16
EDGE = 0.04
"""How wide the edge of a polygon is, in sides of the image."""


class GaborScene(Scene):
    """Waves of at most `size` in every pixel, in each channel of one direction and length.

    Sparse Gabor convolution noise (Lagae et al. 2009): waves under a Gaussian, started at random
    places with weights, which are what the attacker chooses.
    """

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """A weight for each pixel and channel."""
        return shape

    def drawn(self, shape: Shape) -> tuple[int, ...]:
        """Direction and length of a channel's waves, then whether one starts at a pixel."""
        return (shape[0], 2 + shape[1] * shape[2])

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """The noise, bent into [-size, size] by tanh."""
        scale = max(1.0, min(images.shape[2:]) / 32)
        angle = math.pi * drawn[:, :, 0, None, None]
        length = scale * (3 + 5 * drawn[:, :, 1, None, None])
        down, right = distances(images)
        along = down * angle.sin() + right * angle.cos()
        envelope = torch.exp(-0.5 * (down**2 + right**2) / (2.5 * scale) ** 2)
        starts = (drawn[:, :, 2:] < SPARSE / scale**2).view(chosen.shape)
        waves = convolved(chosen * starts, envelope * torch.cos(2 * math.pi * along / length))
        return images + self.size * waves.tanh()


class WoodScene(Scene):
    """Dark and light rings about a point near the image, which cover a share `size` of it."""

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """How far inwards or outwards the rings are bent, at most by the width of one."""
        return (LATTICE, LATTICE)

    def drawn(self, shape: Shape) -> tuple[int, ...]:
        """Where the heart is: down, right; and how many rings there are to a side."""
        return (3,)

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Rings from black to BROWN."""
        height, width = images.shape[2:]
        down, right, rings = drawn.view(-1, 3, 1, 1).unbind(dim=1)
        y = torch.arange(height, device=images.device)[:, None] / height + 0.5 - 2 * down
        x = torch.arange(width, device=images.device) / width + 0.5 - 2 * right
        bend = interpolate(chosen[:, None], (height, width), mode="bicubic", align_corners=True)
        rings = (1 + rings) * min(3, min(height, width) / 8)
        phase = rings * (x**2 + y**2).sqrt() + bend[:, 0]
        light = half(torch.sin(2 * math.pi * phase))[:, None]
        brown = images.new_tensor(BROWN[: images.shape[1]]).view(-1, 1, 1)
        return blend(images, light * brown, images.new_tensor(self.size))


class KaleidoscopeScene(Scene):
    """Regular polygons of 3 to 6 corners on random places, which cover a share `size`."""

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """Colours of the inside and of the edge of each polygon."""
        return (POLYGONS, 2, shape[0])

    def drawn(self, shape: Shape) -> tuple[int, ...]:
        """Of each polygon the centre, the size, the turn and the number of its corners."""
        return (POLYGONS, 5)

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """The polygons one after the other, later ones upon earlier ones."""
        seen = torch.full_like(images[:, 0], -1).long()
        for place, polygon in enumerate(drawn.unbind(1)):
            depth = self._depth(images, polygon)
            seen = torch.where(depth > 0, 2 * place + (depth < EDGE), seen)
        colours = half(chosen).flatten(1, 2).transpose(1, 2)
        flat = seen.flatten(1)[:, None].expand(-1, images.shape[1], -1)
        painted = colours.gather(2, flat.clamp_min(0)).view_as(images)
        return blend(images, painted, self.size * (seen >= 0)[:, None])

    def _depth(self, images: Tensor, polygon: Tensor) -> Tensor:
        """How far inside one polygon (n, 5) each pixel lies, in sides of the image, (n, h, w)."""
        height, width = images.shape[2:]
        down, right, size, turn, corners = polygon.view(-1, 5, 1, 1).unbind(dim=1)
        y = (torch.arange(height, device=images.device)[:, None] + 0.5) / height - down
        x = (torch.arange(width, device=images.device) + 0.5) / width - right
        sector = 2 * math.pi / (3 + (4 * corners).floor())
        beside = (torch.atan2(y, x) + 2 * math.pi * turn) % sector - sector / 2
        return 0.1 + 0.15 * size - (x**2 + y**2).sqrt() * beside.cos()


@ATTACKS.register
@dataclass(frozen=True)
class Gabor(OptimisedCorruption):
    """Gabor noise whose weights the attacker chooses."""

    name: ClassVar[str] = "gabor"
    scene: ClassVar[type[Scene]] = GaborScene
    low_and_high: ClassVar[Scales] = {"ripple": (0.5, 1.5)}
    ripple: float = field(kw_only=True)
    """How far a pixel is moved at most."""


@ATTACKS.register
@dataclass(frozen=True)
class Wood(OptimisedCorruption):
    """Wood whose rings the attacker bends."""

    name: ClassVar[str] = "wood"
    scene: ClassVar[type[Scene]] = WoodScene
    low_and_high: ClassVar[Scales] = {"grain": (0.5, 1.5)}
    grain: float = field(kw_only=True)
    """The share of wood in each pixel."""


@ATTACKS.register
@dataclass(frozen=True)
class Kaleidoscope(OptimisedCorruption):
    """Polygons whose colours the attacker chooses."""

    name: ClassVar[str] = "kaleidoscope"
    scene: ClassVar[type[Scene]] = KaleidoscopeScene
    low_and_high: ClassVar[Scales] = {"glass": (0.5, 1.5)}
    glass: float = field(kw_only=True)
    """The share of the colour of a polygon in what lies behind it."""
