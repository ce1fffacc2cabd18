"""A first look at a model that was trained elsewhere: is it shown the images it was trained on?

A model that lacks its normalisation is often not wrong, only bad, and then looks like a weak
defense. On a few validation images it is asked with each of the usual ones before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from math import sqrt

import torch
from scipy.stats import binomtest
from torch import Tensor, nn

from benchmark.core.errors import contained
from benchmark.core.types import Batch
from benchmark.data.splits import Dataset

USUAL = {
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "MNIST's": ((0.1307,), (0.3081,)),
    "to [-1, 1]": ((0.5,), (0.5,)),
    "to [0, 255]": ((0.0,), (1 / 255,)),
}
"""Mean and standard deviation of the normalisations that models are trained behind."""
BETTER, P = 0.1, 0.01
"""By how much a normalisation has to be better to be named, and how sure that has to be."""
GOOD = 0.95
"""Accuracy from which nothing is searched for."""
TIMED, FEWEST, MOST = 2, 8, 500
"""Images by which a pass is timed, and that are looked at; fewer than 7 could not be sure."""
SECONDS = {32: 0.7, 224: 3.5}
"""By side, what all passes may take; between them by the number of pixels."""


@torch.no_grad()
def first_look(model: nn.Module, dataset: Dataset, device: str) -> list[str]:
    """What to tell the user: accuracy near chance, or a normalisation that is clearly better.

    Args:
        model: frozen, on `device`; one that answers at random is looked at all the same.
        dataset: its validation images are used.
        device: where it runs.
    """
    batch = dataset.validation.first(MOST).batch().to(device)
    batch = batch.take(torch.arange(_affordable(model, batch), device=device))
    n, usual = len(batch.labels), _right(model, batch)
    accuracy = float(usual.float().mean())
    if accuracy >= GOOD:
        return []
    better = _best(model, batch, usual)
    if better:
        return [better]
    chance = 1 / dataset.classes
    if accuracy <= chance + 2 * sqrt(chance * (1 - chance) / n):
        return [
            f"its accuracy is near chance: {accuracy:.0%} of {n} validation images, chance is "
            f"{chance:.0%}; are classes numbered and images scaled as it was trained with?"
        ]
    return []


def _affordable(model: nn.Module, batch: Batch) -> int:
    """How many images all passes have time for."""
    side = max(batch.images.shape[2:])
    share = min(1.0, max(0.0, (side**2 - 32**2) / (224**2 - 32**2)))
    limit = SECONDS[32] + share * (SECONDS[224] - SECONDS[32])
    few = batch.images[:TIMED]
    model(few)  # the first pass sets things up
    begin = time.perf_counter()
    model(few)
    seconds = (time.perf_counter() - begin) / max(1, len(few))
    passes = len(USUAL) + 2
    wanted = int(limit / passes / max(seconds, 1e-9))
    return min(len(batch.labels), max(FEWEST, min(MOST, wanted)))


def _right(model: nn.Module, batch: Batch) -> Tensor:
    right: Tensor = model(batch.images).argmax(dim=1) == batch.labels
    return right


def _best(model: nn.Module, batch: Batch, usual: Tensor) -> str:
    """The best of what may be missing before the model, with the line that adds it; or nothing."""
    found = []
    for name, images, line in _variants(batch.images):
        try:
            with contained():
                right = _right(model, Batch(images, batch.labels))
        except Exception:  # it minds values outside [0, 1]: no sign of a missing normalisation
            continue
        won, lost = int((right & ~usual).sum()), int((usual & ~right).sum())
        sure = won + lost and binomtest(won, won + lost, alternative="greater").pvalue < P
        if sure and won - lost >= BETTER * len(usual):
            found.append((int(right.sum()), name, line))
    if not found:
        return ""
    best, name, line = max(found)
    n = len(usual)
    return (
        f"it seems to lack its normalisation: {int(usual.sum()) / n:.0%} of {n} validation images "
        f"are right, and {best / n:.0%} behind {name}; put it inside: {line}"
    )


def _variants(images: Tensor) -> Iterator[tuple[str, Tensor, str]]:
    """What a model may have been trained on: name, the images so, and how to make the model so."""
    channels = images.shape[1]
    for name, (mean, std) in USUAL.items():
        if len(mean) in (1, channels):
            size = (1, -1, 1, 1)
            shifted = (images - images.new_tensor(mean).view(size)) / images.new_tensor(std).view(
                size
            )
            of = "torchvision.transforms.Normalize"
            yield name, shifted, f"nn.Sequential({of}({list(mean)}, {list(std)}), model)"
    if channels == 3:
        yield "channels in the order BGR", images.flip(1), "model(images.flip(1)) in its forward"
