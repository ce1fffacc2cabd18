"""A cell over its time or memory ends its worker: its record is `failed`, and the run goes on.

A thread of the worker looks at the clock and at the resident memory of the process. Where no Python
code runs any more, `faulthandler` ends the process a little later.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.artifacts.settings import RunSettings
from benchmark.core.errors import UsageError
from benchmark.execution.allocator import give_back

GRACE = 2.0
"""Seconds after which a process that cannot end itself is ended from C."""
PERIOD = 0.05
"""Seconds between two looks."""
STATM = Path("/proc/self/statm")


def check_limits(settings: RunSettings) -> None:
    """Raise UsageError for a limit nothing could keep, or that cannot be watched here."""
    limits = (("--cell-time", settings.cell_time), ("--cell-memory", settings.cell_memory))
    for flag, value in limits:
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{flag}: expected a number above 0, got {value:g}")
    if settings.cell_memory is not None and not STATM.is_file():
        raise UsageError(f"--cell-memory needs {STATM}, which only Linux has; leave it out")


def resident() -> float:
    """Resident memory of this process in gigabytes; 0 where it cannot be read."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    except OSError:
        return 0.0


def over_time(seconds: float) -> str:
    """The reason of a cell that took too long."""
    return f"over its time limit of {seconds:g} s"


@contextmanager
def limited(settings: RunSettings, over: Callable[[str], None]) -> Iterator[None]:
    """Run the body within the limits of a cell, or end this process.

    `over` is told why just before; where no Python code runs any more it is not told.
    """
    if not settings.limited:
        yield
        return
    import torch._dynamo  # noqa: F401 (torch imports it at the first use of `vmap`: seconds)

    if settings.cell_memory is not None and resident() > settings.cell_memory:
        gc.collect()  # what the last cell left is not this one's
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(settings, over, ended), daemon=True)
    with open(os.devnull, "w") as nowhere:
        if settings.cell_time is not None:
            late = settings.cell_time + GRACE
            faulthandler.dump_traceback_later(late, exit=True, file=nowhere)
        watch.start()
        try:
            yield
        finally:
            ended.set()
            watch.join()
            faulthandler.cancel_dump_traceback_later()


def _watch(settings: RunSettings, over: Callable[[str], None], ended: threading.Event) -> None:
    begin = time.monotonic()
    while not ended.wait(PERIOD):
        reason = _reason(settings, time.monotonic() - begin)
        if reason is not None:
            over(reason)
            os._exit(1)


def _reason(settings: RunSettings, seconds: float) -> str | None:
    if settings.cell_time is not None and seconds > settings.cell_time:
        return over_time(settings.cell_time)
    most = settings.cell_memory
    if most is not None and resident() > most:
        give_back()  # only what is in use counts
        if (found := resident()) > most:
            return f"over its memory limit of {most:g} GB: {found:.2f} GB resident"
    return None
