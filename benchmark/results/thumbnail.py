"""The picture beside a record: the first query images, clean and attacked, in one small PNG.

A row of tiles for each of ROWS, the last one only where a model adapted; a column for each image.
It stands for nothing: verdicts are in the record, and a record without a picture lacks nothing.
What is read must be exactly what is written here, for exactly that record. Without torch.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

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

_MAGIC = b"\x89PNG\r\n\x1a\n"
_COLOURS = {1: 0, 3: 2}
"""By channels, PNG's colour type: grey or RGB, 8 bits each."""
_KEYWORD = b"reattack\0"


def tiles(shape: tuple[int, ...]) -> int:
    """How many images of a shape (channels, height, width) a picture has; 0: there is none."""
    return min(TILES, ROW // int(np.prod(shape))) if shape[0] in _COLOURS else 0


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
    return png(grid, f"{stamp(record)} {rows} {columns}")


def decode(record: Record, content: bytes) -> np.ndarray:
    """Back from `encode`: uint8 (rows, images, channels, height, width).

    Raises:
        UsageError: it is not what `encode` makes, or of another record.
    """
    try:
        return _decode(stamp(record), content)
    except (ValueError, KeyError, ArithmeticError, struct.error, zlib.error) as error:
        raise UsageError(f"expected the picture of its record, got another file: {error}") from None


def _decode(expected: str, content: bytes) -> np.ndarray:
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} bytes")
    head, words, packed = _chunks(content)
    width, height, _, colour, *_ = struct.unpack(">IIBBBBB", head)
    channels = {kind: count for count, kind in _COLOURS.items()}[colour]
    if _file(width, height, channels, words, packed) != content:
        raise ValueError("not as it was written")
    found, rows, columns = words.removeprefix(_KEYWORD).decode("ascii").split(" ")
    if found != expected:
        raise ValueError("it belongs to other verdicts")
    raw = zlib.decompressobj().decompress(packed, 4 * ROW)
    lines = np.frombuffer(raw, np.uint8).reshape(height, 1 + width * channels)
    shape = int(rows), height // int(rows), int(columns), width // int(columns), channels
    return lines[:, 1:].reshape(shape).transpose(0, 2, 4, 1, 3)


def png(pixels: np.ndarray, words: str = "") -> bytes:
    """A PNG of uint8 (height, width, channels), one or three of them, with words if there are any.

    PNG (third edition), W3C: signature, header, text, all lines unfiltered, end.
    """
    height, width, channels = pixels.shape
    lines = np.zeros((height, 1 + width * channels), dtype=np.uint8)
    lines[:, 1:] = pixels.reshape(height, -1)
    text = _KEYWORD + words.encode("ascii") if words else b""
    return _file(width, height, channels, text, zlib.compress(lines.tobytes()))


def _file(width: int, height: int, channels: int, text: bytes, packed: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), (b"tEXt", text), (b"IDAT", packed), (b"IEND", b"")]
    return _MAGIC + b"".join(_chunk(*chunk) for chunk in chunks if chunk != (b"tEXt", b""))


def _chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


def _chunks(content: bytes) -> Iterator[bytes]:
    """What is in each chunk but the last, as far as the file goes; kinds are not looked at."""
    at = len(_MAGIC)
    while at + 12 < len(content):
        (size,) = struct.unpack_from(">I", content, at)
        yield content[at + 8 : at + 8 + size]
        at += 12 + size
