"""Fog and snow that fall where they harm most (Kaufmann, Kang et al. 2019, arXiv 1908.08016)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.corruption.fields import convolved, distances, octaves, plasma
from attacks.corruption.optimised import OptimisedCorruption, Scene, blend, half
from benchmark.core.types import Scales, Shape

DECAY = 2.0
"""How much less each finer level of fog adds."""
LAYERS = 3
"""Of snow, each with flakes that fall in one direction."""
FLAKES = 0.03
"""The share of pixels, of an image of 32 pixels, on which a flake of a layer may lie."""


class FogScene(Scene):
    """White that covers from none to `size` of each place, by a fractal field.

    Light through fog is a mix of the object's and of the fog's (Koschmieder 1924).
    """

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """A number for each point of each lattice."""
        return (sum(side * side for side in octaves(*shape[1:])),)

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """See `plasma`."""
        height, width = images.shape[2:]
        return blend(images, 1.0, self.size * half(plasma(chosen, height, width, DECAY)))


class SnowScene(Scene):
    """White flakes on places that chance draws; how bright each is and how they fall is chosen."""

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """For each layer its direction, then the brightness of each pixel's flake."""
        return (LAYERS, 1 + shape[1] * shape[2])

    def drawn(self, shape: Shape) -> tuple[int, ...]:
        """Whether there is a flake on a pixel."""
        return (LAYERS, *shape[1:])

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Each layer's flakes, smeared by at most 45 degrees off the vertical."""
        scale = max(1.0, min(images.shape[2:]) / 32)
        places = drawn < FLAKES / scale**2
        flakes = places * half(chosen[:, :, 1:]).view(drawn.shape)
        angle = math.pi / 4 * chosen[:, :, 0, None, None]
        down, right = distances(images)
        along = down * angle.cos() + right * angle.sin()
        across = right * angle.cos() - down * angle.sin()
        streak = torch.exp(-0.5 * ((along / (1.5 * scale)) ** 2 + (across / (0.5 * scale)) ** 2))
        fallen = convolved(flakes, streak).sum(dim=1, keepdim=True).clamp(0, 1)
        return blend(images, 1.0, self.size * fallen)


@ATTACKS.register
@dataclass(frozen=True)
class Fog(OptimisedCorruption):
    """Fog whose thickness the attacker chooses, at every scale."""

    name: ClassVar[str] = "fog"
    scene: ClassVar[type[Scene]] = FogScene
    low_and_high: ClassVar[Scales] = {"haze": (0.5, 1.5)}
    haze: float = field(kw_only=True)
    """How much of the light is fog's where it is thickest, in [0, 1]."""


@ATTACKS.register
@dataclass(frozen=True)
class Snow(OptimisedCorruption):
    """Snow whose directions and single flakes the attacker chooses, not where they fall."""

    name: ClassVar[str] = "snow"
    scene: ClassVar[type[Scene]] = SnowScene
    low_and_high: ClassVar[Scales] = {"flakes": (0.5, 1.5)}
    flakes: float = field(kw_only=True)
    """How much a flake covers at most of what is behind it, in [0, 1]."""
