"""Data sets in folders: a folder for each class, below `train`, `test` (and `val`) or not.

Classes are the names of folders in alphabetical order, as torchvision's ImageFolder numbers them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from benchmark.core.errors import UsageError
from benchmark.core.images import StoredImages
from benchmark.data.parts import IN_MEMORY, Part, Parts, check_shape

FOLDERS = {
    "train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test",)
}  # fmt: skip
"""What the folders of parts are called."""
ENDS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
MODES = {"1": "L", "L": "L", "RGB": "RGB", "P": "RGB"}
"""What images of a mode of Pillow are read as."""


class ImageFiles(StoredImages):
    """Images in files, decoded when they are asked for."""

    def __init__(
        self, files: Sequence[Path], rows: Tensor, shape: tuple[int, int, int], side: int
    ) -> None:
        super().__init__(rows, shape)
        self.files, self.side = files, side

    def at(self, rows: Tensor) -> Self:
        """See `StoredImages`."""
        return type(self)(self.files, rows, self.size, self.side)

    def read(self, row: int) -> Tensor:
        """See `StoredImages`."""
        return decode(self.files[row], self.side)

    def digest(self) -> bytes:
        """See `StoredImages`: of the files, not of their pixels."""
        digest = hashlib.blake2b(f"{self.side}".encode(), digest_size=16)
        for row in self.rows.tolist():
            digest.update(hashlib.blake2b(self.files[row].read_bytes()).digest())
        return digest.digest()


def decode(file: Path | BytesIO, side: int, name: str = "") -> Tensor:
    """uint8 (channels, height, width); `side` other than 0 cuts the middle to that square.

    `name` is what the file is called in an error.

    Raises:
        UsageError: the file is no image, or of a kind that has more than grey or red-green-blue.
    """
    name = name or str(file)
    try:
        with Image.open(file) as image:
            if image.mode not in MODES:
                raise UsageError(
                    f"{name}: an image of mode {image.mode}; expected 8-bit grey or RGB: convert it"
                )
            found = image.convert(MODES[image.mode])
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, UsageError):
            raise
        unknown = isinstance(error, UnidentifiedImageError)
        reason = "no image" if unknown else " ".join(str(error).split())[:200]
        raise UsageError(f"{name}: not an image that can be read ({reason}); remove it") from None
    if side:
        found = ImageOps.fit(found, (side, side))
    array = np.array(found)
    return torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())


def read_folder(root: Path, side: int = 0) -> Parts:
    """The parts of a folder.

    Raises:
        UsageError: no images, images of different sizes or kinds, or one that cannot be read.
    """
    if not root.is_dir():
        raise UsageError(f"no folder {root}; expected --dataset folder:DIR")
    places = {
        name: place
        for name, words in FOLDERS.items()
        for place in (root / word for word in words)
        if place.is_dir()
    }
    if not {"train", "test"} <= places.keys():
        if places:
            raise UsageError(f"{root} has {', '.join(places)}; expected train and test, or neither")
        places = {"all": root}
    names = sorted({one.name for place in places.values() for one in _classes(place)})
    files = {part: _files(place, names) for part, place in places.items()}
    everything = [file for some in files.values() for file, _ in some]
    if not everything:
        raise UsageError(
            f"{root}: no images; expected {root}/CLASS/*.png or {root}/train/CLASS/..."
        )
    shape = _shape(everything, side)
    parts = {part: _part(some, shape, side) for part, some in files.items()}
    return Parts(parts, tuple(names), f"images below {root.name}")


def _classes(place: Path) -> list[Path]:
    return [one for one in place.iterdir() if one.is_dir() and not one.name.startswith(".")]


def _files(place: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    return [
        (file, label)
        for label, name in enumerate(names)
        for file in sorted((place / name).rglob("*"))
        if file.suffix.lower() in ENDS and file.is_file()
    ]


def _shape(files: Sequence[Path], side: int) -> tuple[int, int, int]:
    """Of all images; the header of each is looked at."""
    first: tuple[Path, tuple[object, ...]] | None = None
    for file in files:
        try:
            with Image.open(file) as image:
                channels = {"L": 1, "RGB": 3}.get(MODES.get(image.mode, ""), image.mode)
                found = (channels, *((side, side) if side else (image.height, image.width)))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            decode(file, side)  # says what is wrong
            raise
        first = first or (file, found)
        if found != first[1]:
            sizes = " and ".join(
                f"{one.name} {'x'.join(map(str, size))}" for one, size in (first, (file, found))
            )
            cut = ", or add [size=N], which cuts each to N x N" if found[0] == first[1][0] else ""
            raise UsageError(
                f"{file.parent}: images differ (channels x height x width): {sizes}; expected one "
                f"size and kind: convert them{cut}"
            )
    assert first is not None
    decode(first[0], side)
    channels, height, width = (int(str(number)) for number in first[1])
    check_shape((channels, height, width), str(first[0]))
    return channels, height, width


def _part(files: Sequence[tuple[Path, int]], shape: tuple[int, int, int], side: int) -> Part:
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    stored = ImageFiles([file for file, _ in files], torch.arange(len(files)), shape, side)
    small = len(files) * shape[0] * shape[1] * shape[2] <= IN_MEMORY
    return Part(stored[:] if small else stored, labels)
