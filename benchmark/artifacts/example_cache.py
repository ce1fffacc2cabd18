"""Crafted examples on disk, found by the hash of everything they depend on.

    DIR/<key>.safetensors    images as crafted, verdicts, and in the header what they are

A file is written once and never changed; its modification time says when it was last used. When
the folder outgrows its limit, what was used least recently goes. Files come and go whole, so any
number of processes may share a folder: at worst, two make the same file. The limit is looked at
after writes; of several processes that write at once, each may overlook `UNSEEN` of it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.core.errors import UsageError
from benchmark.results import store
from benchmark.results.weights import read_weights, write_weights

SUFFIX = ".safetensors"
_OURS = re.compile(r"[0-9a-f]{32}\.safetensors")  # nothing else in a folder is ever removed
LONGEST = 12
"""Digits of a count or a time in the notes."""
HEADER = 2048
"""Bytes of a file beside its tensors, at most."""
FEW = 100
"""Files up to which a folder is listed at every write; listing more of them takes too long."""
UNSEEN = 1 / 50
"""Share of the limit that one process may write, where there are more, before it lists again."""


class Entry(NamedTuple):
    """What is kept of one attack on one batch."""

    images: Tensor
    """Float32 (batch, channels, height, width), as audited."""
    clean: Tensor
    """Whether the originals were classified correctly, bool (batch,)."""
    robust: Tensor
    """Whether the originals and these were, bool (batch,)."""
    notes: Mapping[str, str]
    """What it is, in words, and `outside`; `key` and `created` are added on writing."""


class File(NamedTuple):
    """One file of a cache folder."""

    path: Path
    size: int
    used: float
    """When it was last used, in seconds since 1970."""

    @property
    def is_temporary(self) -> bool:
        """Whether somebody is writing it, or was killed over it."""
        return self.path.name.endswith(store.TEMPORARY)


class Cache:
    """A folder of entries that is kept below `limit` bytes; `say` is told what went wrong."""

    def __init__(self, root: Path, limit: int, say: Callable[[str], None]) -> None:
        self.root, self.limit, self.say = root, limit, say
        self._writable, self._size, self._files, self._since = True, 0, 0, limit

    def has(self, key: str) -> bool:
        """Whether there is a file for a key; never in a folder that may not be looked into."""
        return os.path.isfile(self.root / f"{key}{SUFFIX}")

    def get(self, key: str) -> Entry | None:
        """The entry of a key, or None if there is none that can be trusted."""
        if not self.has(key):
            return None
        path = self.root / f"{key}{SUFFIX}"
        try:
            entry = read(path)
        except UsageError as error:
            self.say(f"{error}; made again")
            return None
        with suppress(OSError):  # read-only, or just removed elsewhere: the entry is good
            os.utime(path)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry, and drop what was used least recently where there is too much.

        A folder that cannot be written costs one line: the run goes on without keeping anything.
        """
        size = entry.images.nbytes + entry.clean.nbytes + entry.robust.nbytes + HEADER
        if not self._writable:
            return
        if size > self.limit:
            self.say(f"the cache limit of {self.limit:,} bytes is below one entry: {size:,} bytes")
            return
        try:
            self._drop_over(self.limit - size)
            write(self.root / f"{key}{SUFFIX}", key, entry)
        except (UsageError, OSError) as error:
            self._writable = False
            cause = error.__cause__ or error
            reason = getattr(cause, "strerror", None) or cause
            self.say(f"cannot write the cache {self.root} ({reason}): going on without it")
            return
        self._size, self._files, self._since = (
            self._size + size,
            self._files + 1,
            self._since + size,
        )

    def _drop_over(self, limit: int) -> None:
        """Make room; lists the folder only where that is cheap or due."""
        if self._files > FEW and self._since < self.limit * UNSEEN and self._size <= limit:
            return
        left = drop(files(self.root), limit)
        self._size, self._files, self._since = sum(file.size for file in left), len(left), 0


def write(path: Path, key: str, entry: Entry) -> None:
    """Write an entry; UsageError if that cannot be done."""
    tensors = {"images": entry.images, "clean": entry.clean, "robust": entry.robust}
    notes = {**entry.notes, "key": key, "created": f"{time.time():.0f}"}
    write_weights(path, tensors, notes, durable=False)  # its hash says if it was damaged


def read(path: Path) -> Entry:
    """Read an entry and check that it is whole; UsageError, in one line, if it is not."""
    found = read_weights(path)
    if found is None:
        raise UsageError(f"{path}: not a readable cache file")
    if found.notes.get("key") != path.stem:
        raise UsageError(f"{path}: a cache file that was renamed")
    reason = malformed(found.tensors)
    outside = found.notes.get("outside", "")
    if reason or not outside.isdecimal() or len(outside) > LONGEST:
        raise UsageError(f"{path}: not a cache file: {reason or 'no count of images outside'}")
    return Entry(**found.tensors, notes=found.notes)


def describe(path: Path) -> dict[str, str]:
    """The notes of an entry and how many `images` it holds; {} if the header cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            size = file.get_slice("images").get_shape()[0]
            return {**(file.metadata() or {}), "images": str(size)}
    except (OSError, SafetensorError, IndexError):
        return {}


def malformed(tensors: Mapping[str, Tensor]) -> str | None:
    """What makes tensors no entry: names, shapes, dtypes, or pixels outside [0, 1]."""
    if tensors.keys() != {"images", "clean", "robust"}:
        return f"holds {', '.join(sorted(tensors))}"
    images, verdicts = tensors["images"], (tensors["clean"], tensors["robust"])
    if images.dtype != torch.float32 or images.ndim != 4:
        return f"images are {images.dtype} {tuple(images.shape)}"
    if any(part.dtype != torch.bool or part.shape != (len(images),) for part in verdicts):
        return "verdicts do not fit the images"
    if not bool(((images >= 0) & (images <= 1)).all()):
        return "pixels are not in [0, 1]"
    return None


def files(root: Path) -> list[File]:
    """What is in a cache folder, least recently used first; litter of killed writers included.

    Raises:
        UsageError: the folder cannot be read.
    """
    return sorted(_scan(root), key=lambda file: (file.used, file.path))


def _scan(root: Path) -> Iterator[File]:
    try:
        found = list(os.scandir(root))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"cannot read the cache {root}: {error.strerror}") from error
    for item in found:
        if _OURS.fullmatch(item.name) or store.is_temporary(item.name):
            try:
                facts = item.stat()
            except OSError:  # another process dropped it
                continue
            yield File(Path(item.path), facts.st_size, facts.st_mtime)


def drop(found: list[File], limit: int) -> list[File]:
    """Remove the first of these until the rest is within `limit` bytes; returns the rest.

    What another process is just writing stays, whatever the limit.
    """
    size = sum(file.size for file in found)
    left = []
    for file in found:
        old = not file.is_temporary or store.is_litter(file.used)
        if size > limit and old and remove(file.path):
            size -= file.size
        else:
            left.append(file)
    return left


def remove(path: Path) -> bool:
    """Whether it is gone: a file that is open elsewhere may stay on some systems."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True
