"""Labelled images: a batch of them, a split of a data set, and those that stay on disk till asked.

Shapes and units are those of `benchmark.core.types`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Tensor

from benchmark.core.schema import short_hash


class Batch(NamedTuple):
    """Images with their labels."""

    images: Tensor
    labels: Tensor

    def take(self, rows: Tensor) -> Batch:
        """Some rows (int64) of it."""
        return Batch(self.images[rows], self.labels[rows])

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on `device`."""
        return Batch(self.images.to(device), self.labels.to(device))

    def repeat(self, times: int) -> Batch:
        """The batch so many times over, one after the other."""
        images = self.images.repeat(times, *[1] * (self.images.dim() - 1))
        return Batch(images, self.labels.repeat(times))


Shape = tuple[int, int, int]
"""Channels, height, width."""


class StoredImages(ABC):
    """What `Split.raw` may be in place of a tensor: uint8 images (n, channels, height, width)."""

    dtype = torch.uint8

    def __init__(self, rows: Tensor, shape: Shape) -> None:
        """`rows`: which of the images that are stored, int64 (n,); `shape`: of one of them."""
        self.rows, self.size = rows, shape

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As of a tensor."""
        return (len(self.rows), *self.size)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Tensor | slice) -> Tensor:
        """The images at `indices`, read now."""
        found = [self.read(row) for row in self.rows[indices].tolist()]
        return torch.stack(found) if found else torch.empty(0, *self.size, dtype=self.dtype)

    def select(self, indices: Tensor | slice) -> Self:
        """Those at `indices`; nothing is read."""
        return self.at(self.rows[indices])

    def joined(self, other: Self) -> Self:
        """These and others of the same store."""
        return self.at(torch.cat([self.rows, other.rows]))

    @abstractmethod
    def at(self, rows: Tensor) -> Self:
        """Other rows of the same store."""

    @abstractmethod
    def read(self, row: int) -> Tensor:
        """One image: uint8 (channels, height, width)."""

    @abstractmethod
    def digest(self) -> bytes:
        """Of all the images, in their order."""


@dataclass(frozen=True, eq=False)
class Split:
    """Labelled images, kept compact: `raw` is uint8 in [0, 255] or float32 in [0, 1], NCHW."""

    raw: Tensor | StoredImages
    labels: Tensor
    ids: Tensor
    """Where each image stands in the published data: int64, distinct across the splits."""
    groups: Tensor | None = None
    """Whom each image is of, int64: a patient, a track. None where every image is of its own."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> Shape:
        """Channels, height, width of one image."""
        channels, height, width = self.raw.shape[1:]
        return channels, height, width

    @cached_property
    def hash(self) -> str:
        """Changes with any pixel, label, id or their order."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.raw, self.labels, self.ids):
            if isinstance(part, StoredImages):
                digest.update(part.digest())
            else:
                digest.update(part.contiguous().numpy().data)
        return short_hash(self.raw.dtype, tuple(self.raw.shape), digest.hexdigest())

    def images(self, indices: Tensor | slice = slice(None)) -> Tensor:
        """Float32 images in [0, 1] at `indices` of this split."""
        raw = self.raw[indices]
        return raw.float().div_(255) if raw.dtype == torch.uint8 else raw.clone()

    def batch(self, indices: Tensor | slice = slice(None)) -> Batch:
        """Images and labels at `indices` of this split; all of them by default."""
        return Batch(self.images(indices), self.labels[indices])

    def take(self, indices: Tensor | slice) -> Split:
        """The split of the images at `indices`, in that order."""
        raw = self.raw.select(indices) if isinstance(self.raw, StoredImages) else self.raw[indices]
        groups = None if self.groups is None else self.groups[indices]
        return Split(raw, self.labels[indices], self.ids[indices], groups)

    def first(self, n: int | None) -> Split:
        """The first `n` images, or all if there are fewer or `n` is None."""
        return self.take(slice(n))
