"""Python's garbage collector, held back where a million objects live as long as the work does."""

from __future__ import annotations

import gc
import sys
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
    of the time of a short command. A process that has torch already is left as it is: it may be
    somebody else's, and hold garbage.
    """
    is_first = "torch" not in sys.modules
    with uncollected():
        yield
    if is_first:
        gc.freeze()
