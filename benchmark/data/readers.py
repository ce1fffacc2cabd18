"""Published data files to arrays: idx, CIFAR pickles (restricted), SVHN .mat. Nothing executes."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmark.core.errors import UsageError


class Arrays(NamedTuple):
    """Images uint8 (n, channels, height, width) and labels int64 (n,)."""

    images: np.ndarray
    labels: np.ndarray


def corrupt(path: Path, reason: str) -> UsageError:
    """The one line for a file that is not what it should be."""
    return UsageError(
        f"cannot use {path}: {reason}; delete it and fetch the published file again (--download)"
    )


def read_published(path: Path, md5: str) -> bytes:
    """A file's bytes, unpacked if it is .gz, only if they are the published ones.

    Raises:
        UsageError: unreadable, truncated, or different from what `md5` names.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise corrupt(path, f"truncated or unreadable ({error})") from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise corrupt(path, f"not the published file (expected md5 {md5}, got {found})")
    return content


def read_idx(content: bytes, path: Path) -> np.ndarray:
    """The uint8 array in an idx file (yann.lecun.com/exdb/mnist: 0 0 8 ndim, sizes, values)."""
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise corrupt(path, f"expected an idx file of bytes, got header {content[:4].hex()!r}")
    start = 4 + 4 * content[3]
    sizes = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) != start + math.prod(sizes):
        raise corrupt(path, f"expected {math.prod(sizes)} values, got {len(content) - start}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)


def parse_idx(contents: Sequence[bytes], path: Path) -> Arrays:
    """A file of images and the file of their labels (LeCun et al. 1998; Xiao et al. 2017)."""
    images, labels = (read_idx(content, path) for content in contents)
    return Arrays(images[:, None], labels.astype(np.int64))


def _dtype(spec: str, align: int = 0, copy: int = 0) -> np.dtype[Any]:
    return np.dtype(spec, align=bool(align), copy=bool(copy))  # old pickles pass integers


class _PlainUnpickler(pickle.Unpickler):
    """Builds dicts, lists, bytes, numbers and NumPy arrays; refuses every other global."""

    _allowed = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): _dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise pickle.UnpicklingError(f"refused: it asks for {module}.{name}")
        return self._allowed[module, name]


def parse_cifar(contents: Sequence[bytes], path: Path) -> Arrays:
    """A batch of CIFAR-10 or CIFAR-100 (fine labels), Krizhevsky 2009."""
    try:
        table = _PlainUnpickler(io.BytesIO(contents[0]), encoding="bytes").load()
        labels = table[b"fine_labels" if b"fine_labels" in table else b"labels"]
        images = np.asarray(table[b"data"], dtype=np.uint8).reshape(len(labels), 3, 32, 32)
        return Arrays(images, np.asarray(labels, dtype=np.int64))
    except Exception as error:  # a broken pickle can raise anything
        raise corrupt(path, f"not a CIFAR batch ({error})") from None


def parse_svhn(contents: Sequence[bytes], path: Path) -> Arrays:
    """A cropped-digits file of SVHN (Netzer et al. 2011), whose label 10 is the digit 0."""
    from scipy.io import loadmat

    try:
        table = loadmat(io.BytesIO(contents[0]), variable_names=("X", "y"))
        images = np.ascontiguousarray(table["X"].transpose(3, 2, 0, 1), dtype=np.uint8)
        return Arrays(images, table["y"].astype(np.int64).flatten() % 10)
    except Exception as error:  # a broken .mat can raise anything
        raise corrupt(path, f"not an SVHN file ({error})") from None
