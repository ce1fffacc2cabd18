"""What files and wires do to an image, where it harms most: JPEG, coarse pixels, a glitch.

From ImageNet-UA (Kaufmann, Kang et al. 2019, arXiv 1908.08016).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from attacks import ATTACKS
from attacks.corruption.jpeg import blocks, needs_colours, pixels, steps
from attacks.corruption.optimised import OptimisedCorruption, Scene, blend, half
from benchmark.core.types import Scales, Shape

QUALITY = 50
"""Of the JPEG file whose coefficients are attacked."""
STRIPS = 8
"""Into which a glitch cuts an image, at most."""


def block_side(shape: tuple[int, ...]) -> int:
    """Pixels of a side of the blocks that `pixel` averages: an eighth of the image, at least 2."""
    return max(2, min(shape[-2:]) // 8)


class JPEGScene(Scene):
    """Every coefficient of a JPEG file moved by at most `size` quantisation steps.

    With half a step the attacker rounds every coefficient as he likes.
    """

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """How far each coefficient moves."""
        return blocks(shape)

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """The moves alone are decoded, which is linear: so size 0 changes nothing."""
        channels, height, width = images.shape[1:]
        moves = self.size * steps(channels, QUALITY).to(chosen) * chosen
        return images + pixels(moves, height, width)


class PixelScene(Scene):
    """Blocks of pixels, each replaced by its mean to a share between 0 and `size`."""

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """The share of each block."""
        side = block_side(shape)
        return (-(-shape[1] // side), -(-shape[2] // side))

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Images with coarse pixels."""
        side = block_side(images.shape)
        means = avg_pool2d(images, side, ceil_mode=True, count_include_pad=False)
        shares = self.size * half(chosen)[:, None]
        return blend(images, self._whole(means, images), self._whole(shares, images))

    def _whole(self, coarse: Tensor, images: Tensor) -> Tensor:
        """One number a block, as an image."""
        (height, width), side = images.shape[2:], block_side(images.shape)
        fine = coarse.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)
        return fine[:, :, :height, :width]


class GlitchScene(Scene):
    """Strips whose channels slip sideways, each by at most `size` of the image's width."""

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """How far each channel of each strip slips; a strip has 4 rows or more."""
        return (shape[0], max(1, min(STRIPS, shape[1] // 4)))

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """What leaves at one side comes in at the other; between pixels it is interpolated."""
        height, width = images.shape[2:]
        strip = torch.arange(height, device=images.device) * chosen.shape[2] // height
        slips = (self.size * width * chosen)[:, :, strip, None]
        places = torch.arange(width, device=images.device) - slips
        left = places.detach().floor().long()
        near, far = (images.gather(3, column % width) for column in (left, left + 1))
        return blend(near, far, places - left)


@ATTACKS.register
@dataclass(frozen=True)
class JPEG(OptimisedCorruption):
    """A JPEG file whose coefficients the attacker moves."""

    name: ClassVar[str] = "jpeg"
    scene: ClassVar[type[Scene]] = JPEGScene
    low_and_high: ClassVar[Scales] = {"quanta": (0.5, 1.5)}
    quanta: float = field(kw_only=True)
    """How far a coefficient moves at most, in quantisation steps at quality 50."""

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """Colours are three or none."""
        return needs_colours(shape)


@ATTACKS.register
@dataclass(frozen=True)
class Pixel(OptimisedCorruption):
    """Blocks of which the attacker chooses the coarse ones."""

    name: ClassVar[str] = "pixel"
    scene: ClassVar[type[Scene]] = PixelScene
    low_and_high: ClassVar[Scales] = {"mosaic": (0.5, 1.5)}
    mosaic: float = field(kw_only=True)
    """How far a block goes to its mean at most: 1 is all the way."""


@ATTACKS.register
@dataclass(frozen=True)
class Glitch(OptimisedCorruption):
    """Strips whose colours the attacker pulls apart."""

    name: ClassVar[str] = "glitch"
    scene: ClassVar[type[Scene]] = GlitchScene
    low_and_high: ClassVar[Scales] = {"slip": (0.5, 1.5)}
    slip: float = field(kw_only=True)
    """How far a channel of a strip slips at most, in widths of the image."""
