"""Data sets in a user's Python file: `path/to/file.py:NAME`, as torch has them.

NAME is a `torch.utils.data.Dataset`, a pair (train, test), three (train, validation, test), or a
function that returns one of those. An item is an image and its label.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from benchmark.core.errors import UsageError, describe
from benchmark.core.images import StoredImages
from benchmark.data.parts import IN_MEMORY, Part, Parts, as_images, as_labels
from benchmark.identity.user_file import named_in

ORDERS = {1: ("all",), 2: ("train", "test"), 3: ("train", "validation", "test")}
"""Of the data sets in a file, by how many there are."""


class ItemImages(StoredImages):
    """Images of a `Dataset` of the user's, asked for one by one; other processes read the file."""

    def __init__(self, text: str, part: str, rows: Tensor, shape: tuple[int, int, int]) -> None:
        super().__init__(rows, shape)
        self.text, self.part = text, part

    def at(self, rows: Tensor) -> Self:
        """See `StoredImages`."""
        return type(self)(self.text, self.part, rows, self.size)

    def read(self, row: int) -> Tensor:
        """See `StoredImages`."""
        image, _ = item(datasets_in(self.text)[self.part], row, self.text)
        return (image * 255).round().byte() if image.is_floating_point() else image

    def digest(self) -> bytes:
        """See `StoredImages`."""
        digest = hashlib.blake2b(digest_size=16)
        for row in self.rows.tolist():
            digest.update(self.read(row).numpy().tobytes())
        return digest.digest()


def read_items(text: str) -> Parts:
    """The parts of `path/to/file.py:NAME`.

    Raises:
        UsageError: the file or the name is none, or an item is no image with a label.
    """
    parts, names = {}, tuple[str, ...]()
    for part, dataset in datasets_in(text).items():
        parts[part] = _part(text, part, dataset)
        names = names or tuple(map(str, getattr(dataset, "classes", ())))
    return Parts(parts, names, f"{Path(text.rpartition(':')[0]).name}:{text.rpartition(':')[2]}")


@lru_cache(maxsize=1)
def datasets_in(text: str) -> dict[str, Any]:
    """By part, the data sets that a name in a file stands for."""
    path, _, name = text.rpartition(":")
    found, home = named_in(Path(path), name, "--dataset")
    with home.entered():
        if callable(found) and not hasattr(found, "__getitem__"):
            try:
                found = found()
            except Exception as error:
                raise UsageError(f"{text}: {describe(error)}") from error
    several = isinstance(found, tuple | list)
    order = ORDERS.get(len(found) if several else 1)
    parts = list(found) if several else [found]
    if order is None or not all(hasattr(one, "__getitem__") and hasattr(one, "__len__")
                                for one in parts):  # fmt: skip
        raise UsageError(
            f"{text}: expected a torch Dataset with a length, (train, test), (train, validation, "
            f"test), or a function that returns one of them, got {type(found).__name__}"
        )
    return dict(zip(order, parts, strict=True))


def item(dataset: Any, row: int, text: str) -> tuple[Tensor, int]:
    """An image (channels, height, width) and its label, as `Part` has them."""
    try:
        image, label = dataset[row]
    except Exception as error:
        raise UsageError(f"{text}: item {row} cannot be read: {describe(error)}") from error
    where = f"{text}, item {row}"
    array = np.asarray(image)
    if array.ndim == 3 and array.shape[0] not in (1, 3):
        array = array.transpose(2, 0, 1) if array.shape[2] in (1, 3) else array
    (found,) = as_images(array[None] if array.ndim == 3 else array[None, None], where)
    (number,) = as_labels(np.asarray(label).reshape(-1), 1, where).tolist()
    return found, number


def _part(text: str, part: str, dataset: Any) -> Part:
    n = len(dataset)
    if not n:
        raise UsageError(f"{text}: no items in {part}")
    first, _ = item(dataset, 0, text)
    channels, height, width = first.shape
    lazy = n * first.nbytes > IN_MEMORY
    images, labels = list[Tensor](), list[int]()
    for row in range(n):
        image, label = item(dataset, row, text)
        if image.shape != first.shape:
            sizes = f"{tuple(first.shape)} and {tuple(image.shape)} (item {row})"
            raise UsageError(f"{text}: images differ in size: {sizes}; expected one size")
        labels.append(label)
        if not lazy:
            images.append(image)
    groups = _groups(text, dataset, n)
    stored: Tensor | StoredImages = (
        ItemImages(text, part, torch.arange(n), (channels, height, width))
        if lazy
        else torch.stack(images)
    )
    return Part(stored, torch.tensor(labels), groups)


def _groups(text: str, dataset: Any, n: int) -> Tensor | None:
    """The attribute `groups` of a data set, if it has one: whole numbers, one an item."""
    found: Sequence[int] | None = getattr(dataset, "groups", None)
    return None if found is None else as_labels(np.asarray(found), n, f"{text}, groups")
