"""A mask laid over the picture somewhere: attacked = (1 - m) * original + v inside a box.

m (height, width) in [0, 1] and v (channels, height, width) are shared by all pairs; where the box
lies is of each pair alone. Fitted by turns (Lloyd 1982): the best place for each pair, then least
squares over the pairs for each pixel of the box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from attacks.threats.worst import DRAWS, Drawn, worst
from benchmark.core.streams import Streams
from benchmark.core.threats.sets import Pairs

FEWEST = 3
"""Pairs."""
CHANGED = 1 / 512
"""Of a pixel, from which it counts as changed: half a step of 8-bit images."""
LARGEST = 0.5
"""Share of the image that a box may cover."""
QUANTILE = 0.95
"""Of the boxes of single pairs: a few pixels elsewhere make no box."""
ROUNDS = 10
RIDGE = 1e-4
"""Draws m and v of pixels that tell little to a black square, m = 1 and v = 0."""


class Box(NamedTuple):
    """Height and width in pixels."""

    height: int
    width: int

    def places(self, images: Tensor) -> int:
        """How many there are, by rows."""
        return (images.shape[2] - self.height + 1) * (images.shape[3] - self.width + 1)

    def inside(self, images: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        """The index of what lies in the box at places (n,): (n, channels, height, width)."""
        across = images.shape[3] - self.width + 1
        count, channels = (torch.arange(size, device=images.device) for size in images.shape[:2])
        down, right = (torch.arange(size, device=images.device) for size in self)
        rows, columns = (places // across)[:, None] + down, (places % across)[:, None] + right
        return (
            count[:, None, None, None], channels[None, :, None, None],
            rows[:, None, :, None], columns[:, None, None, :],
        )  # fmt: skip

    def sums(self, images: Tensor, weights: Tensor) -> Tensor:
        """Weighted sums over the box at every place, (n, places); weights (channels or 1, ...)."""
        kernel = weights.expand(images.shape[1], *self)[None]
        return conv2d(images, kernel).flatten(1)


def laid_over(images: Tensor, mask: Tensor, colour: Tensor, places: Tensor) -> Tensor:
    """Images (n, ...) under the mask at `places` (n,); may leave [0, 1]."""
    where = Box(*mask.shape).inside(images, places)
    made = images.clone()
    made[where] = (1 - mask) * images[where] + colour
    return made


@dataclass(frozen=True, eq=False)
class FittedMask:
    """A mask that was laid over some pairs."""

    mask: Tensor
    """m, (height, width)."""
    colour: Tensor
    """v, (channels, height, width)."""
    tries: int

    @property
    def box(self) -> Box:
        """How large it is."""
        return Box(*self.mask.shape)

    def __str__(self) -> str:
        return f"a mask of {self.box.height}x{self.box.width} pixels"

    def nearest(self, pairs: Pairs) -> Tensor:
        """See `ThreatSet`: only the place is sought."""
        return laid_over(pairs.originals, self.mask, self.colour, self.places(pairs))

    def places(self, pairs: Pairs) -> Tensor:
        """Where it fits best, int64 (n,): what it leaves inside the box, and all outside.

        The square of (1 - m) x + v - a, multiplied out: each term is a convolution.
        """
        box, (before, after) = self.box, pairs
        keep, one = 1 - self.mask, torch.ones_like(self.mask)
        left = box.sums(before.square(), keep.square()) + box.sums(after.square(), one)
        left = left - 2 * box.sums(before * after, keep) + 2 * box.sums(before, keep * self.colour)
        left = left - 2 * box.sums(after, self.colour) - box.sums((before - after).square(), one)
        return left.argmin(dim=1)

    def attack_inside(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: Streams
    ) -> Tensor:
        """The worst of a few places."""
        box = self.box
        draws = rng.integers(box.places(images), (DRAWS,)).to(images.device)

        def make(places: Tensor) -> Tensor:
            return laid_over(images, self.mask, self.colour, places)

        def promise(gradient: Tensor) -> Tensor:
            """The gradient times v - m x, summed over the box at every place."""
            hidden = box.sums(gradient * images, self.mask)
            return (box.sums(gradient, self.colour) - hidden).gather(1, draws)

        return worst(model, labels, Drawn(images, draws, make, promise), self.tries)

    def scaled(self, share: float) -> None:
        """See `ThreatSet`: what was fitted is as large as it should be."""


@dataclass(frozen=True)
class Masks:
    """One mask, moved about."""

    tries: int
    name: str = "mask"

    def fit(self, pairs: Pairs) -> FittedMask | None:
        """See `RepresentationSet`: None where the changed pixels lie all over the image."""
        box = changed_box(pairs)
        height, width = pairs.originals.shape[2:]
        if len(pairs.originals) < FEWEST or box.height * box.width > LARGEST * height * width:
            return None
        ones = pairs.originals.new_ones(box)
        found = FittedMask(ones, _average(pairs, box), self.tries)
        for _ in range(ROUNDS):
            places = found.places(pairs)
            found = _solved(pairs, box, places, self.tries)
            if torch.equal(found.places(pairs), places):
                break
        return found


def changed_box(pairs: Pairs) -> Box:
    """The box that holds what changed in most pairs."""
    changed = ((pairs.attacked - pairs.originals).abs() > CHANGED).any(dim=1)

    def extent(lines: Tensor) -> int:
        """Of changed lines, bool (n, lines): from the first to the last of each, then of most."""
        count = lines.shape[1]
        first = lines.int().argmax(dim=1)
        last = count - 1 - lines.flip(1).int().argmax(dim=1)
        sizes = (last - first + 1).float()
        return int(torch.quantile(sizes, QUANTILE, interpolation="higher"))

    return Box(extent(changed.any(dim=2)), extent(changed.any(dim=1)))


def _average(pairs: Pairs, box: Box) -> Tensor:
    """The first v: what is seen, in the mean, where most changed."""
    change = (pairs.attacked - pairs.originals).square()
    places = box.sums(change, change.new_ones(box)).argmax(dim=1)
    return pairs.attacked[box.inside(change, places)].mean(dim=0)


def _solved(pairs: Pairs, box: Box, places: Tensor, tries: int) -> FittedMask:
    """The mask and its colour by least squares over pairs and channels; m is cut to [0, 1].

    With k = 1 - m: attacked = k * original + v.
    """
    where = box.inside(pairs.originals, places)
    before, after = pairs.originals[where], pairs.attacked[where]
    mean_before, mean_after = before.mean(dim=0), after.mean(dim=0)
    before, after = before - mean_before, after - mean_after
    keep = (before * after).sum(dim=(0, 1)) / (before.square().sum(dim=(0, 1)) + RIDGE)
    keep = keep.clamp(0, 1)
    return FittedMask(1 - keep, mean_after - keep * mean_before, tries)
