"""The picture beside a record: the first query images, clean and attacked, in one small PNG.

A row of tiles for each of ROWS, the last one only where a model adapted; a column for each image.
It stands for nothing: verdicts are in the record, and a record without a picture lacks nothing.
What is read must be what is written here, for exactly that record. Without torch.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np

from benchmark.core.errors import UsageError
from benchmark.core.schema import short_hash
from benchmark.results.records import Record

ROWS = ("clean", "stored", "again")
"""The images as they are; attacked against the trained model; against that of the first episode."""
TILES = 8
"""Images at most."""
ROW = 12 << 10
"""Values of a row of tiles at most: 8 images of MNIST, 4 of CIFAR-10, none of ImageNet."""
LARGEST = 1 << 16
"""Bytes of a file."""

_CHANNELS = {1: "L", 3: "RGB"}
"""By number, what Pillow calls them: 8 bits each."""
_WORDS = "reattack"
_END = b"\0\0\0\0IEND\xae\x42\x60\x82"
"""The last chunk of every PNG."""


def tiles(shape: tuple[int, ...]) -> int:
    """How many images of a shape (channels, height, width) a picture has; 0: there is none."""
    return min(TILES, ROW // int(np.prod(shape))) if shape[0] in _CHANNELS else 0


def stamp(record: Record) -> str:
    """What binds a picture to its record: the fingerprint and the verdicts."""
    outcome = record.outcome
    found = (outcome.clean_before, outcome.before, outcome.clean, outcome.static,
             outcome.reattacked) if outcome else ()  # fmt: skip
    return short_hash(sorted(record.fingerprint.items()), *(one.bits for one in found))


def encode(record: Record, images: np.ndarray) -> bytes:
    """The picture of a record; `images` are uint8 (rows, images, channels, height, width)."""
    rows, columns, channels, height, width = images.shape
    grid = images.transpose(0, 3, 1, 4, 2).reshape(rows * height, columns * width, channels)
    return png(grid, f"{stamp(record)} {rows} {columns} {_hash(grid)}")


def _hash(pixels: np.ndarray) -> str:
    """Of uint8 (height, width, channels); the bytes of the file depend on the version of Pillow."""
    return short_hash(pixels.shape, hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest())


def decode(record: Record, content: bytes) -> np.ndarray:
    """Back from `encode`: uint8 (rows, images, channels, height, width).

    Raises:
        UsageError: it is not what `encode` makes, or of another record.
    """
    try:
        return _decode(stamp(record), content)
    except Exception as error:  # Pillow raises many kinds
        raise UsageError(f"expected the picture of its record, got another file: {error}") from None


def _decode(expected: str, content: bytes) -> np.ndarray:
    from PIL import Image

    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} bytes")
    if not content.endswith(_END) or content.count(_END) != 1:
        raise ValueError("not as it was written")
    with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        width, height, channels = *image.size, len(image.mode)
        if _CHANNELS.get(channels) != image.mode or width * height * channels > len(ROWS) * ROW:
            raise ValueError("not as it was written")
        pixels = np.asarray(image, dtype=np.uint8).reshape(height, width, channels)
        found, rows, columns, *hashes = str(image.info[_WORDS]).split(" ")
        if set(image.info) != {_WORDS} or hashes not in ([], [_hash(pixels)]):
            raise ValueError("not as it was written")  # older pictures come without a hash
    if found != expected:
        raise ValueError("it belongs to other verdicts")
    shape = int(rows), height // int(rows), int(columns), width // int(columns), channels
    return pixels.reshape(shape).transpose(0, 2, 4, 1, 3)


def png(pixels: np.ndarray, words: str = "") -> bytes:
    """A PNG of uint8 (height, width, channels), one or three of them; with words, if any."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    info, buffer = PngInfo(), io.BytesIO()
    if words:
        info.add_text(_WORDS, words)
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
