"""Keep memory between passes instead of giving it back to the system after each."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
"""Names of mallopt's settings in glibc's malloc.h."""
GIGABYTE = 1 << 30


def keep_memory() -> bool:
    """Tell glibc to reuse large buffers; False where the allocator is another one.

    By default every activation of a few hundred kilobytes is mapped when it is made and unmapped
    when it goes; the page faults take as long as small convolutions do. Costs up to the process's
    own peak in memory that stays with it.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    wanted = ((TRIM_THRESHOLD, GIGABYTE), (MMAP_THRESHOLD, GIGABYTE), (TOP_PAD, GIGABYTE >> 4))
    done = [bool(mallopt(name, value)) for name, value in wanted]
    return all(done)


def give_back() -> None:
    """Return what is not in use to the system now, where the allocator is glibc's."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
