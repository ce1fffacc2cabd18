"""A cell over its time or memory ends `failed`, and the run goes on.

A thread looks at the clock and at the resident memory of this process, and raises `OverLimit` in
the thread that runs the cell. That works wherever Python code runs; a call that stays in C is
reached when it returns. A worker (`hard`) ends itself if the cell does not end within `GRACE`.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.artifacts.settings import Limits
from benchmark.core.errors import OverLimit, UsageError
from benchmark.execution.allocator import give_back

GRACE = 2.0
"""Seconds a cell gets to end once it was told to, before its worker ends instead."""
PERIOD = 0.05
"""Seconds between two looks."""
STATM = Path("/proc/self/statm")


def check_limits(limits: Limits) -> None:
    """Raise UsageError for a limit nothing could keep, or that cannot be watched here."""
    for flag, value in (("--cell-time", limits.seconds), ("--cell-memory", limits.gigabytes)):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{flag}: expected a number above 0, got {value:g}")
    if limits.gigabytes is not None and not STATM.is_file():
        raise UsageError(f"--cell-memory needs {STATM}, which only Linux has; leave it out")


def resident() -> float:
    """Resident memory of this process in gigabytes; 0 where it cannot be read."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9
    except OSError:
        return 0.0


def over_time(limits: Limits) -> str:
    """The reason of a cell that took too long."""
    return f"over its time limit of {limits.seconds:g} s"


@contextmanager
def limited(limits: Limits) -> Iterator[None]:
    """Run the body within limits.

    Raises:
        OverLimit: the body took longer or more than allowed, whatever it made of being told so.
    """
    if not limits.are_set:
        yield
        return
    import torch._dynamo  # noqa: F401 (torch imports it at the first use of `vmap`: seconds)

    if limits.gigabytes is not None and resident() > limits.gigabytes:
        gc.collect()  # what the last cell left is not this one's
    guard = _Guard(limits)
    with _ended_from_c(limits):
        guard.start()
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if guard.over is None:
                raise
            raise OverLimit(guard.over) from (None if isinstance(error, OverLimit) else error)
        finally:
            guard.stop()
    if guard.over is not None:
        raise OverLimit(guard.over)


@contextmanager
def _ended_from_c(limits: Limits) -> Iterator[None]:
    """End a worker that is past its time even where no Python code runs any more."""
    if not (limits.hard and limits.seconds is not None):
        yield
        return
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(limits.seconds + 2 * GRACE, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


class _Guard(threading.Thread):
    """Raises OverLimit in the thread that made it."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(daemon=True)
        self.limits, self.begin = limits, time.monotonic()
        self.guarded = threading.get_ident()
        self.over: str | None = None
        self.told = 0.0
        self.ended, self.lock = threading.Event(), threading.Lock()

    def run(self) -> None:
        while not self.ended.wait(PERIOD):
            self.over = self.over or self._reason()
            if self.over is None:
                continue
            self.told = self.told or time.monotonic()
            with self.lock:
                if not (self.ended.is_set() or _importing(self.guarded)):
                    _raise_in(self.guarded, OverLimit)
            if self.limits.hard and time.monotonic() - self.told > GRACE:
                self._exit()
            self.ended.wait(GRACE / 4)

    def _exit(self) -> None:
        with self.lock:
            if not self.ended.is_set():
                os._exit(1)

    def _reason(self) -> str | None:
        seconds, gigabytes, _ = self.limits
        if seconds is not None and time.monotonic() - self.begin > seconds:
            return over_time(self.limits)
        if gigabytes is not None and resident() > gigabytes:
            give_back()  # only what is in use counts
        if gigabytes is not None and (found := resident()) > gigabytes:
            return f"over its memory limit of {gigabytes:g} GB: {found:.2f} GB resident"
        return None

    def stop(self) -> None:
        """End the guard, and wait for what it raised and has not arrived yet.

        It cannot be taken back: raising nothing leaves the interpreter's flag up, and with that
        CPython 3.11 hangs in the first call under `sys.settrace`.
        """
        settled = False
        while not settled:
            try:
                with self.lock:
                    self.ended.set()
                settled = True
                if self.told:
                    _raise_in(self.guarded, OverLimit)  # takes the place of the one on its way
                    while True:
                        time.sleep(0)
            except OverLimit:
                continue


def _importing(thread: int) -> bool:
    """Whether a thread is inside an import: one that is cut short leaves half a module behind."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _raise_in(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))
