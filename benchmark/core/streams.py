"""One random stream per image: what an image is dealt never depends on who shares its batch.

A torch.Generator deals to a batch in order, so a verdict would change with the images beside it,
with the size of the chunks, and with who has left already. Here draw `i` of a stream is a hash of
the stream's key and `i` (SplitMix64, Steele, Lea & Flood 2014): any rows, in any order, on any
device, get what they would have got alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from benchmark.core.seeding import draw_seed, stream

GOLDEN, FIRST, SECOND = (
    value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
"""The odd constants of SplitMix64, as the signed 64-bit integers torch has."""


def mix(bits: Tensor) -> Tensor:
    """SplitMix64's output function: int64 in, int64 out, multiplication modulo 2^64."""
    bits = (bits ^ _shift(bits, 30)) * FIRST
    bits = (bits ^ _shift(bits, 27)) * SECOND
    return bits ^ _shift(bits, 31)


def _shift(bits: Tensor, count: int) -> Tensor:
    """To the right, zeros moving in."""
    return (bits >> count) & ((1 << (64 - count)) - 1)


class Streams:
    """As many streams as images, each with its key; they count their draws together."""

    def __init__(self, keys: Tensor, drawn: int = 0) -> None:
        """`keys`: int64 (n,); `drawn`: values every stream has given already."""
        self.keys, self.drawn = keys, drawn

    @classmethod
    def named(cls, count: int, *names: object) -> Self:
        """Streams 0, 1, ..., count - 1 of a name: the first ones are the same for every count."""
        return cls.dealt(stream(*names), count)

    @classmethod
    def dealt(cls, rng: torch.Generator, count: int) -> Self:
        """Streams for the images of a batch, in order; takes one draw from `rng`."""
        high, low = draw_seed(rng), draw_seed(rng)
        return cls(mix(mix(torch.tensor(high << 31 | low)) + torch.arange(count) * GOLDEN))

    @classmethod
    def joined(cls, parts: Sequence[Streams]) -> Self:
        """The streams of several batches, none of which has been drawn from."""
        return cls(torch.cat([part.keys for part in parts]))

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Tensor | slice) -> Streams:
        """The streams of some rows (bool (n,), int64 or a slice), going on where these are."""
        rows = rows if isinstance(rows, slice) else rows.to(self.keys.device)
        return Streams(self.keys[rows], self.drawn)

    def fork(self, *names: object) -> Streams:
        """Other streams for the same images, e.g. one set per restart; these do not move on."""
        salt = draw_seed(stream("fork", *names))
        return Streams(mix(self.keys ^ mix(torch.tensor(salt))))

    def bits(self, shape: tuple[int, ...]) -> Tensor:
        """int64 (n, *shape), every bit fair."""
        count = math.prod(shape)
        index = torch.arange(self.drawn + 1, self.drawn + 1 + count)
        self.drawn += count
        return mix(self.keys[:, None] + index * GOLDEN).view(len(self), *shape)

    def uniform(self, shape: tuple[int, ...] = ()) -> Tensor:
        """float32 (n, *shape) in [0, 1): 24 bits each, so every value is exact."""
        return _shift(self.bits(shape), 40).float() / 2**24

    def signs(self, shape: tuple[int, ...] = ()) -> Tensor:
        """float32 (n, *shape), 1 or -1."""
        return (_shift(self.bits(shape), 63) * 2 - 1).float()

    def integers(self, high: int, shape: tuple[int, ...] = ()) -> Tensor:
        """int64 (n, *shape) in [0, high), for `high` far below 2^32."""
        return (_shift(self.bits(shape), 32) * high) >> 32

    def normal(self, shape: tuple[int, ...] = ()) -> Tensor:
        """float32 (n, *shape), standard normal by Box and Muller (1958), in float64."""
        radius, angle = self.uniform((2, *shape)).double().unbind(1)
        return ((-2 * (1 - radius).log()).sqrt() * (2 * math.pi * angle).cos()).float()

    def generator(self) -> torch.Generator:
        """For code that deals to a whole batch: depends on the first image's stream."""
        return stream("streams", *self.keys[:1].tolist(), self.drawn)
