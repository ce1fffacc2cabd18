"""Random views of training images, made on the device they are on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from benchmark.core.errors import unknown
from benchmark.core.types import Batch

VIEWS = ("crop", "flip")
PADDING = 1 / 8
"""Of each side, by which `crop` may shift: 4 of 32 pixels."""


def check_augmentation(names: str) -> None:
    """Raise UsageError for a view nobody knows."""
    for name in filter(None, names.split("+")):
        if name not in VIEWS:
            raise unknown("augmentation", name, VIEWS)


def augmented(batch: Batch, names: str, rng: torch.Generator) -> Batch:
    """Each image by itself shifted (`crop`, black comes in) and mirrored (`flip`), as `names` says.

    Args:
        batch: images (n, channels, height, width).
        names: joined by `+`; empty leaves the batch as it is.
        rng: draws from it depend on n and the image size alone.
    """
    images = batch.images
    for name in filter(None, names.split("+")):
        images = _cropped(images, rng) if name == "crop" else _flipped(images, rng)
    return Batch(images, batch.labels)


def _cropped(images: Tensor, rng: torch.Generator) -> Tensor:
    n, channels, height, width = images.shape
    top, left = round(height * PADDING), round(width * PADDING)
    padded = pad(images, (left, left, top, top))
    rows = _starts(n, top, rng, images) + torch.arange(height, device=images.device)
    columns = _starts(n, left, rng, images) + torch.arange(width, device=images.device)
    each = torch.arange(n, device=images.device).view(n, 1, 1, 1)
    channel = torch.arange(channels, device=images.device).view(1, channels, 1, 1)
    return padded[each, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _starts(n: int, most: int, rng: torch.Generator, like: Tensor) -> Tensor:
    """Where each window begins, (n, 1)."""
    return torch.randint(2 * most + 1, (n, 1), generator=rng).to(like.device)


def _flipped(images: Tensor, rng: torch.Generator) -> Tensor:
    mirrored = torch.rand(len(images), generator=rng) < 0.5
    return torch.where(mirrored.view(-1, 1, 1, 1).to(images.device), images.flip(3), images)
