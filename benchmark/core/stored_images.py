"""Images that stay where they are till they are asked for: a data set may be larger than memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor


class StoredImages(ABC):
    """What `Split.raw` may be in place of a tensor: uint8 images (n, channels, height, width)."""

    dtype = torch.uint8

    def __init__(self, rows: Tensor, shape: tuple[int, int, int]) -> None:
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
