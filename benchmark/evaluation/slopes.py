"""Whether gradients are the slopes of a model: finite differences against autograd."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.core.copying import copied
from benchmark.results.flags import Flag

STEP, STEPS = 1e-6, (1e-3, 1e-2, 5e-2)
"""Of each value of an image: in float64, and where a model computes in less. Small, since even
sound networks bend: of an adversarially trained LeNet5, 61 % of slopes hold over 1e-3. [T]"""
ALIKE = 0.25
"""How far a slope and a difference may be apart, as a share of the sum of their sizes."""
SHARE, FEWEST = 0.5, 8
"""Of the images with a slope: so many must be alike, and there must be so many to ask about.
Sound networks in float64: 1, in bfloat16 0.9; planted: 0 to 0.3. [T]"""
MOST = 32
"""Images that are asked about: a convolution in float64 takes several times as long."""
ROUNDING = 1e3
"""A change of the logits is one beyond so many roundings."""


class Probe(NamedTuple):
    """Where slopes are asked for, and in which direction: one for each image."""

    images: Tensor
    """Moved off 0 and 1, so that a step stays inside, and by noise off even areas, where the
    largest of equal values has no slope."""
    way: Tensor
    """-1 or 1 for each value."""
    weights: Tensor
    """(n, classes): the number that is looked at is this sum of the logits."""

    def number(self, model: nn.Module, images: Tensor) -> Tensor:
        """Of each image, (n,)."""
        logits: Tensor = model(images)
        return (self.weights.to(logits.dtype) * logits).sum(dim=1)


def of_slopes(model: nn.Module, images: Tensor, classes: int) -> list[Flag]:
    """Whether gradients differ from central differences along random directions.

    `model`: frozen; answers each image by itself, alike each time, with a gradient. `images`:
    float32 (n, channels, height, width) in [0, 1]. Draws from torch's global state of random
    numbers. In float64, on a copy, where the model can; a copy may be wider than it computes, so
    what it answers in less is asked as it is, over larger steps.
    """
    probe = _probe(images, classes)
    found = [_in_float64(model, probe)]
    if found == [None]:
        found = [_alike(model, probe, step) for step in STEPS]
    alike = max((share for share in found if share is not None), default=1.0)
    if alike >= SHARE:
        return []
    message = f"for {1 - alike:.0%} of images they are not what small steps measure"
    return [Flag(code="wrong gradients", message=message, value=1 - alike, threshold=1 - SHARE)]


def _probe(images: Tensor, classes: int) -> Probe:
    edge = 2 * STEPS[-1]
    images = images[:MOST] * (1 - 2 * edge) + edge
    images = images + STEPS[-1] * (2 * torch.rand(images.shape) - 1).to(images)
    way = 2 * torch.randint(0, 2, images.shape) - 1
    weights = torch.randn(len(images), classes)
    return Probe(images, way.to(images), weights.to(images.device))


def _in_float64(model: nn.Module, probe: Probe) -> float | None:
    """The share that is alike on a copy in float64; None where there is no such model."""
    try:
        wider = copied(model).double()
        exact = Probe(probe.images.double(), probe.way.double(), probe.weights)
        if exact.number(wider, exact.images[:1]).dtype != torch.float64:
            return None
        return _alike(wider, exact, STEP)
    except Exception:  # it insists on float32, cannot be copied, or there is no memory for two
        return None


def _alike(model: nn.Module, probe: Probe, step: float) -> float | None:
    """Of which share of the images that have a slope it is the difference; None if of too few."""
    asked = probe.images.clone().requires_grad_()
    with torch.enable_grad():
        number = probe.number(model, asked)
        (gradient,) = torch.autograd.grad(number.sum(), asked, materialize_grads=True)
    slope = (gradient * probe.way).flatten(1).sum(dim=1).double()
    with torch.no_grad():
        above, below = (
            probe.number(model, probe.images + side * step * probe.way) for side in (1, -1)
        )
    difference = (above.double() - below.double()) / (2 * step)
    size = slope.abs() + difference.abs()
    rounding = torch.finfo(number.dtype).eps * float(number.detach().abs().max())
    known = size > ROUNDING * rounding / step
    if int(known.sum()) < FEWEST:
        return None
    return float(((difference - slope).abs() <= ALIKE * size)[known].float().mean())
