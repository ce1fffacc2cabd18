"""Python's garbage collector, held back where a million objects live as long as the work does."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Run without the cyclic collector; also a decorator.

    Records and table rows all stay until the end, yet each full collection looks at every one of
    them: a quarter of the time of a report on 10,000 records, and no memory saved.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """Import large packages without the collector, which never looks at them again.

    `import torch` makes more than 150,000 objects that it tracks, all there to stay. It goes
    through them again and again while they are made and twice more when the process ends: a quarter
    of the time of a short command. Only once in a process: what is there later may be garbage.
    """
    with uncollected():
        yield
    if not gc.get_freeze_count():
        gc.freeze()
