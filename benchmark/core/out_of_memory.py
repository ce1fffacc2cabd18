"""Where memory does not suffice: work is cut into smaller parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from benchmark.core.errors import tell_once

T = TypeVar("T")
R = TypeVar("R")
WORDS = (
    "can't allocate memory", "not enough memory",  # torch's own allocator of a CPU
    "out of memory", "ALLOC_FAILED",  # CUDA itself, MPS; cuBLAS, cuDNN
)  # fmt: skip
"""What torch says where memory is short, of errors that are no `OutOfMemoryError`."""


def is_shortage(error: BaseException) -> bool:
    """Whether memory, of this machine or of its GPU, was not enough."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


def in_parts(items: Sequence[T], size: int, work: Callable[[Sequence[T]], Sequence[R]]) -> list[R]:
    """`work` on at most `size` items at once, on half as many where memory does not suffice."""
    done: list[R] = []
    size = min(size, len(items))
    while len(done) < len(items):
        try:
            done += work(items[len(done) : len(done) + size])
        except (RuntimeError, MemoryError) as error:
            if size == 1 or not is_shortage(error):
                raise
            size = -(-size // 2)
            tell_once(f"memory is short: going on with at most {size} adapted models at once")
    return done


def halved(parts: Iterable[Tensor], work: Callable[[Tensor], R]) -> Iterator[R]:
    """`work` on each part, rows int64 (n,), in order; on its halves where memory does not suffice.

    What comes after is cut to what sufficed. One row that is too much comes through as an error.
    """
    waiting, most = [*parts][::-1], None
    while waiting:
        rows = waiting.pop()
        if most is not None and len(rows) > most:
            waiting += rows.tensor_split(2)[::-1]
            continue
        try:
            done = work(rows)
        except (RuntimeError, MemoryError) as error:
            if len(rows) <= 1 or not is_shortage(error):
                raise
            most = -(-len(rows) // 2)
            waiting.append(rows)
            tell_once(f"memory is short: going on with at most {most} images at once")
        else:
            yield done
