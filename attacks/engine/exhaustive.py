"""Attacks on a finite set of variants of an image, searched whole.

No attack on such a threat is stronger, and none needs a gradient. Whoever adds one says which
variants there are and how one is made.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks.engine.search import Search
from benchmark.core.errors import UsageError
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Goal, Threat

TOLERANCE = 1e-5
"""Float32 interpolation differs by less than this between devices and batch sizes."""


class Variants(Threat):
    """A finite set of ways to change an image."""

    @abstractmethod
    def grid(self) -> Sequence[Any]:
        """Every variant once, the image itself first, then those that are likely to harm."""

    @abstractmethod
    def make(self, images: Tensor, variant: Any) -> Tensor:
        """Images in this variant, same shape, in [0, 1]; the first one gives them back exactly."""

    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """Which images are one of the variants: each is made again and compared."""
        found = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        for variant in self.grid():
            left = (~found).nonzero().flatten()
            if not len(left):
                break
            difference = (self.make(images[left], variant) - perturbed[left]).abs()
            found[left] = difference.flatten(1).amax(dim=1) <= TOLERANCE
        return found


class Exhaustive(Attack):
    """Tries every variant."""

    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True

    @property
    @abstractmethod
    def threat(self) -> Variants:
        """The variants."""

    @property
    def passes(self) -> int:
        """One forward a variant."""
        return len(self.threat.grid())

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. Draws nothing: the whole set is tried."""
        search, threat = Search(model, images, labels, goal), self.threat
        rows = search.remaining()
        for variant in threat.grid():
            search.ask(rows, threat.make(images, variant))
            stay = search.leave(rows)
            if stay is not None:
                rows, images = rows[stay], images[stay]
            if not len(rows):
                break
        return search.best


def even_steps(size: float, count: int) -> list[float]:
    """`count` (odd) numbers evenly from -size to size, 0 in the middle, mirrored exactly.

    >>> even_steps(0.5, 5)
    [-0.5, -0.25, 0.0, 0.25, 0.5]
    """
    half = count // 2
    return [size * step / half if step else 0.0 for step in range(-half, half + 1)]


def check_odd(attack: Attack, *options: str) -> None:
    """Raise UsageError where a grid would miss the image itself."""
    for option in options:
        count = getattr(attack, option)
        if count < 1 or count % 2 == 0:
            raise UsageError(
                f"{attack.name}[{option}={count}]: expected an odd number, "
                "so that the grid holds the original"
            )


def check_most(attack: Attack, option: str, most: float) -> None:
    """Raise UsageError for an option above `most`."""
    value = getattr(attack, option)
    if value > most:
        raise UsageError(f"{attack.name}[{option}={value:g}]: expected at most {most:g}")
