"""A first look at a model that was trained elsewhere: is it shown the images it was trained on?

A model that lacks its normalisation is often not wrong, only bad, and then looks like a weak
defense. On a few validation images it is asked with each of the usual ones before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from math import sqrt

import torch
from torch import Tensor, nn

from benchmark.core.errors import contained
from benchmark.core.types import Batch, Shape
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
FEWEST = 20
"""Images of which accuracy near chance is said."""
PIECE = {32: 32, 224: 8}
"""By side, images looked at together; fewer than 7 could not be sure."""
MOST = 500
"""Images looked at, as far as time goes."""
SECONDS = {32: 0.7, 224: 3.0}
"""By side, when no further piece is begun; between them by the number of pixels."""


@torch.no_grad()
def first_look(model: nn.Module, dataset: Dataset, device: str) -> list[str]:
    """What to tell the user: accuracy near chance, or a normalisation that is clearly better.

    Args:
        model: frozen, on `device`; one that answers at random is looked at all the same.
        dataset: its validation images are used.
        device: where it runs.
    """
    usual, behind, lines = _answers(model, dataset, device)
    n, accuracy = len(usual), float(usual.float().mean())
    if accuracy >= GOOD:
        return []
    counts = dataset.validation.labels.bincount(minlength=dataset.classes)
    chance = float(counts.max() / counts.sum())  # of who always answers the commonest class
    luck = chance + 2 * sqrt(chance * (1 - chance) / n)
    better = _best(usual, behind, lines, luck)
    if better:
        return [better]
    if n >= FEWEST and accuracy <= luck:
        return [
            f"its accuracy is near chance: {accuracy:.0%} of {n} validation images, chance (always "
            f"the commonest class) is {chance:.0%}; are classes numbered and images scaled as it "
            "was trained with?"
        ]
    return []


def _answers(
    model: nn.Module, dataset: Dataset, device: str
) -> tuple[Tensor, dict[str, Tensor], dict[str, str]]:
    """Which images are right as they are, which behind each variant, and the variants' lines.

    Piece by piece until the time is spent; a sound model is let go after the first.
    """
    images = dataset.validation.first(MOST)
    size, seconds = _by_side(PIECE, images.shape), _by_side(SECONDS, images.shape)
    usual: list[Tensor] = []
    behind: dict[str, list[Tensor]] = {}
    lines: dict[str, str] = {}
    end = time.perf_counter() + seconds
    for first in range(0, len(images), round(size)):
        batch = images.batch(slice(first, first + round(size))).to(device)
        usual.append(_right(model, batch))
        if torch.cat(usual).float().mean() >= GOOD:
            break
        for name, shifted, lines[name] in _variants(batch.images):
            right = _right_if_taken(model, batch._replace(images=shifted))
            behind.setdefault(name, []).append(right)
        if time.perf_counter() > end:
            break
    return torch.cat(usual), {name: torch.cat(each) for name, each in behind.items()}, lines


def _right(model: nn.Module, batch: Batch) -> Tensor:
    right: Tensor = model(batch.images).argmax(dim=1) == batch.labels
    return right


def _right_if_taken(model: nn.Module, batch: Batch) -> Tensor:
    """Which images are right; none if the model minds values outside [0, 1]."""
    try:
        with contained():
            return _right(model, batch)
    except Exception:
        return torch.zeros_like(batch.labels, dtype=torch.bool)


def _best(usual: Tensor, behind: dict[str, Tensor], lines: dict[str, str], luck: float) -> str:
    """The best of what may be missing before the model, with the line that adds it; or nothing.

    More has to be right behind it than `luck`: where a class is common, a model that knows nothing
    gains much by answering that one.
    """
    from scipy.stats import binomtest  # half a second that a sound model does not need

    found = []
    for name, right in behind.items():
        won, lost = int((right & ~usual).sum()), int((usual & ~right).sum())
        sure = won + lost and binomtest(won, won + lost, alternative="greater").pvalue < P
        clearly = won - lost >= BETTER * len(usual) and int(right.sum()) > luck * len(usual)
        if sure and clearly:
            found.append((int(right.sum()), name))
    if not found:
        return ""
    best, name = max(found)
    n = len(usual)
    return (
        f"it seems to lack its normalisation: {int(usual.sum()) / n:.0%} of {n} validation images "
        f"are right, and {best / n:.0%} behind {name}; put it inside: {lines[name]}"
    )


def _by_side(table: Mapping[int, float], shape: Shape) -> float:
    """What holds for images of this shape, by their number of pixels."""
    small, large = table
    share = (max(shape[1:]) ** 2 - small**2) / (large**2 - small**2)
    return table[small] + min(1.0, max(0.0, share)) * (table[large] - table[small])


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
