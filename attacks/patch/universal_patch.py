"""One patch for all images, learned from images of the attacker's own."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks import ATTACKS
from attacks.engine.ball import known
from attacks.engine.own_images import minibatches, total, visits
from attacks.patch.squares import SquareAttack, cut_out, paint
from benchmark.core.streams import Streams
from benchmark.core.types import Batch, Goal

TRIED = 5
"""Places per direction of which the worst is taken."""


@ATTACKS.register
@dataclass(frozen=True)
class UniversalPatch(SquareAttack):
    """A texture learned at random places of training images, then the place where it harms most.

    Brown et al. 2017 (arXiv 1712.09665): the mean over places is what makes it work anywhere.
    Texture and place are the same for all images, and no scored image is looked at.
    """

    name: ClassVar[str] = "universal_patch"
    white_box: ClassVar[bool] = True
    by_rows: ClassVar[bool] = False
    own_images: int = 500
    epochs: int = 10

    @property
    def passes(self) -> int:
        """Of the attacker's images there and back, shared among 200 that are scored, say."""
        return max(1, self.own_images * (2 * self.epochs + TRIED**2) // 200)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. Every image gets the patch; draws are the same every time."""
        own = Batch(*(part.to(images.device) for part in known(self).images))
        if not len(own.labels):
            return images.clone()
        texture = self._learned(model, own)
        return self._at(images, texture, self._worst(model, own, texture))

    def _learned(self, model: nn.Module, own: Batch) -> Tensor:
        """The texture, (channels, side, side) in [0, 1]."""
        texture = torch.full((own.images.shape[1], self.side, self.side), 0.5).to(own.images)
        for step, (some, left) in enumerate(visits(own, self.epochs)):
            slope = self._slope(model, some, texture, self._drawn(some, step))
            texture = (texture + left / 4 * slope.sign()).clamp(0, 1)
        return texture

    def _slope(self, model: nn.Module, some: Batch, texture: Tensor, corners: Tensor) -> Tensor:
        """The gradient of the images' summed losses at the texture, which is at these corners."""

        def of(rows: Tensor) -> Tensor:
            with torch.enable_grad():
                patched = self._at(some.images[rows], texture, corners[rows]).requires_grad_()
                loss = cross_entropy(model(patched), some.labels[rows], reduction="sum")
                (gradient,) = torch.autograd.grad(loss, patched)
            return cut_out(gradient, self.side, corners[rows]).sum(dim=0)

        return total([torch.arange(len(corners), device=corners.device)], of)

    def _drawn(self, some: Batch, step: int) -> Tensor:
        """A random corner for each image, int64 (n, 2)."""
        rng = Streams.named(len(some.labels), "universal patch", step)
        height, width = some.images.shape[2:]
        rows, columns = (rng.integers(size - self.side + 1) for size in (height, width))
        return torch.stack([rows, columns], dim=1).to(some.images.device)

    @torch.no_grad()
    def _worst(self, model: nn.Module, own: Batch, texture: Tensor) -> Tensor:
        """The corner, of a grid, at which the fewest images stay right: int64 (2,)."""
        height, width = own.images.shape[2:]
        tops, lefts = (
            sorted({(size - self.side) * step // (TRIED - 1) for step in range(TRIED)})
            for size in (height, width)
        )
        corners = torch.tensor([*itertools.product(tops, lefts)], device=own.images.device)
        right = [
            self._right(model, own._replace(images=self._at(own.images, texture, corner)))
            for corner in corners
        ]
        return corners[int(torch.tensor(right).argmin())]

    def _right(self, model: nn.Module, patched: Batch) -> int:
        """How many images are classified correctly."""

        def of(rows: Tensor) -> Tensor:
            logits: Tensor = model(patched.images[rows])
            return (logits.argmax(dim=1) == patched.labels[rows]).sum()

        return int(total(minibatches(patched), of))

    def _at(self, images: Tensor, texture: Tensor, corner: Tensor) -> Tensor:
        """Images with the texture at one corner (2,), or at the corner of each (n, 2)."""
        textures = texture.expand(len(images), *texture.shape)
        return paint(images, textures, corner.expand(len(images), 2))
