"""What a data set of the user's holds before it is split, in one form, with whatever is wrong said.

Readers (`image_folder`, `npz_file`, `torch_dataset`, `hub`) hand over parts; `benchmark.data.own`
makes three splits of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark.core.errors import UsageError
from benchmark.core.images import StoredImages
from benchmark.data.splits import check_images

MOST_CLASSES = 1000
SIDES = (8, 224)
"""Pixels of a side, least and most."""
IN_MEMORY = 1 << 30
"""Bytes of images that are read at once; more than that are read when they are asked for."""
NAMES = ("train", "validation", "test", "all")
"""Of parts; `all` is split by us."""


class Part(NamedTuple):
    """Images with labels, and whom they are of where that is known."""

    images: Tensor | StoredImages
    labels: Tensor
    groups: Tensor | None = None


class Parts(NamedTuple):
    """What was read."""

    parts: dict[str, Part]
    """By one of NAMES."""
    class_names: tuple[str, ...]
    """Empty where nobody names them."""
    source: str
    """What was read, in one line."""


def as_images(array: np.ndarray[Any, Any], where: str) -> Tensor:
    """uint8 or float32 (n, channels, height, width) of an array (n, height, width[, channels]).

    Raises:
        UsageError: another type, another number of axes or channels, or values outside [0, 1].
    """
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise UsageError(
            f"{where}: images are {array.dtype}; expected uint8, or floats in [0, 1]: scale them"
        )
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[-1] in (1, 3) and array.shape[1] not in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4:
        raise UsageError(
            f"{where}: images are {array.shape}; expected (n, height, width), "
            "(n, height, width, channels) or (n, channels, height, width)"
        )
    check_shape(array.shape[1:], where)
    images = torch.from_numpy(np.ascontiguousarray(array))
    if images.dtype != torch.uint8:
        images = images.float()
        try:
            check_images(images)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    return images


def check_shape(shape: Sequence[int], where: str) -> None:
    """UsageError for images (channels, height, width) that nothing here could take."""
    channels, *sides = shape
    least, most = SIDES
    if channels not in (1, 3) or not all(least <= side <= most for side in sides):
        raise UsageError(
            f"{where}: images are {'x'.join(map(str, shape))} (channels, height, width); expected "
            f"1 or 3 channels and sides of {least} to {most} pixels"
        )


def as_labels(array: np.ndarray[Any, Any], n: int, where: str) -> Tensor:
    """int64 (n,) of whole numbers (n,) or (n, 1).

    Raises:
        UsageError: labels of another kind; says what to do about them.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        raise UsageError(
            f"{where}: labels are {array.shape}, one-hot or several an image; expected one whole "
            "number an image: labels.argmax(axis=1)"
        )
    if not np.issubdtype(array.dtype, np.integer):
        raise UsageError(f"{where}: labels are {array.dtype}; expected whole numbers from 0")
    if array.shape != (n,):
        raise UsageError(f"{where}: {n} images have labels {array.shape}; expected ({n},)")
    if array.size and array.min() < 0:
        raise UsageError(f"{where}: labels begin at {array.min()}; expected whole numbers from 0")
    return torch.from_numpy(array.astype(np.int64))


def count_classes(found: Parts) -> int:
    """How many classes there are, each of them in every part that is trained or scored on.

    Raises:
        UsageError: too few or too many, or a class without images in a part.
    """
    labels = torch.cat([part.labels for part in found.parts.values()])
    if not len(labels):
        raise UsageError(f"{found.source}: no images")
    classes = len(found.class_names) or int(labels.max()) + 1
    if int(labels.max()) >= classes:
        raise UsageError(
            f"{found.source}: labels run to {int(labels.max())}, but {classes} classes have names"
        )
    if not 2 <= classes <= MOST_CLASSES:
        raise UsageError(f"{found.source}: {classes} classes; expected 2 to {MOST_CLASSES}")
    if int(labels.min()) == 1 and not found.class_names:
        raise UsageError(
            f"{found.source}: labels run from 1 to {int(labels.max())}; expected them from 0: "
            "labels - 1"
        )
    for name in ("train", "test", "all"):
        if name in found.parts:
            counts = found.parts[name].labels.bincount(minlength=classes)
            for label in (counts == 0).nonzero().flatten().tolist():
                known = f" ({found.class_names[label]})" if found.class_names else ""
                raise UsageError(
                    f"{found.source}: class {label}{known} has no image in {name}; expected some "
                    f"of each of the {classes} classes"
                )
    return classes
