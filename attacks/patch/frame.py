"""Adversarial framing (Zajac et al. 2019, arXiv 1812.00670): a border of any pixels, by PGD.

Theirs is one frame for all images; this one is made for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks import ATTACKS
from attacks.engine.rendered import Rendered, Rendering
from attacks.patch.squares import SLACK
from benchmark.core.types import Family, Scales, Shape


@dataclass(frozen=True)
class Frames(Rendering):
    """Any pixels in a border `width` pixels wide; all others as they were."""

    width: int
    norm: str = "patch"

    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """A number for each of the image; those inside the border are not looked at."""
        return shape

    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Images in a frame whose pixels are (chosen + 1) / 2."""
        return torch.where(self._border(images), (chosen + 1) / 2, images)

    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """See `Threat.inside`: nothing changes within the border."""
        changed = (perturbed - images).abs() > SLACK
        return ~(changed & ~self._border(images)).flatten(1).any(dim=1)

    def _border(self, images: Tensor) -> Tensor:
        """Which pixels the frame covers, bool (height, width)."""
        border = torch.ones(images.shape[2:], dtype=torch.bool, device=images.device)
        border[self.width : -self.width, self.width : -self.width] = False
        return border

    def __str__(self) -> str:
        return f"a frame of {self.width} pixels"


@ATTACKS.register
@dataclass(frozen=True)
class Frame(Rendered):
    """Ascent by the sign of the gradient over the pixels of the border."""

    name: ClassVar[str] = "frame"
    low_and_high: ClassVar[Scales] = {"width": (0.5, 2.0)}
    family: ClassVar[Family] = "patch"
    norm: ClassVar[str] = "patch"
    width: int = field(kw_only=True)
    restarts: int = 4

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """Something has to be left of the picture."""
        size = min(shape[1:])
        if 2 * self.width >= size:
            return f"a frame of {self.width} pixels leaves nothing of an image of {size}"
        return None

    @property
    def threat(self) -> Frames:
        """The frame."""
        return Frames(self.width)
