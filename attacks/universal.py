"""One perturbation for all images, learned from images of the attacker's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks import ATTACKS
from attacks.engine.ball import BallAttack, known
from attacks.engine.own_images import total, visits
from benchmark.core.streams import Streams
from benchmark.core.types import Batch, Family, Goal

ENOUGH = 4.0
"""Loss from which an image is fooled well enough: it no longer pulls at the perturbation."""


@ATTACKS.register
@dataclass(frozen=True)
class Universal(BallAttack):
    """Signed gradient ascent on the mean loss of training images, each cut at ENOUGH.

    Universal perturbations are due to Moosavi-Dezfooli et al. 2017 (arXiv 1610.08401); this way to
    find them, and the cut, to Shafahi et al. 2020 (arXiv 1811.11304). The step shrinks linearly.
    """

    name: ClassVar[str] = "universal"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    inexact: ClassVar[str] = "one perturbation for all images"
    by_image: ClassVar[bool] = True
    eps: float
    own_images: int = 500
    epochs: int = 10

    @property
    def passes(self) -> int:
        """Of the attacker's images there and back, shared among 200 that are scored, say."""
        return max(1, 2 * self.own_images * self.epochs // 200)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. Nothing is drawn, and no scored image is looked at."""
        return (images + self.learned(model, images)).clamp(0, 1)

    def learned(self, model: nn.Module, images: Tensor) -> Tensor:
        """The perturbation, of the shape of one of the images."""
        own = known(self).images.to(images.device)
        delta = torch.zeros(images.shape[1:], device=images.device)
        for some, left in visits(own, self.epochs):
            stride = self.eps * left / 4
            delta = (delta + stride * slope(model, some, delta).sign()).clamp(-self.eps, self.eps)
        return delta


def slope(model: nn.Module, some: Batch, delta: Tensor) -> Tensor:
    """The gradient of the images' summed losses, each cut at ENOUGH, at `delta` (its shape)."""

    def of(rows: Tensor) -> Tensor:
        images, labels = some.take(rows)
        with torch.enable_grad():
            moved = delta.clone().requires_grad_()
            losses = cross_entropy(model((images + moved).clamp(0, 1)), labels, reduction="none")
            (gradient,) = torch.autograd.grad(losses.clamp(max=ENOUGH).sum(), moved)
        return gradient

    return total([torch.arange(len(some.labels), device=delta.device)], of)
