"""Two runs on one results folder share the work: locks that vanish with their process.

    DIR/.locks/<name>.lock      empty, and harmless when left behind

Where the file system has no locks the run goes on without: nothing is corrupted, since records are
written atomically, but two runs at once may then compute the same cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from benchmark.results.store import slug

Note = Callable[[str], None]


class HeldLock(NamedTuple):
    """What this run holds and no other does; without a lock where there are none."""

    lock: FileLock | None = None

    def again(self) -> HeldLock:
        """The same, held once more: others have it when it was released as often."""
        if self.lock is not None:
            self.lock.acquire()
        return self

    def release(self) -> None:
        """Let others have it."""
        if self.lock is not None:
            self.lock.release()


def try_lock(results: Path, name: str, note: Note) -> HeldLock | None:
    """Take what nobody else holds, without waiting; None if another run holds it."""
    return _acquire(results, name, note, 0)


@contextmanager
def exclusive(results: Path, name: str, note: Note, what: str) -> Iterator[None]:
    """Do something that no other run does at the same time; wait for one that does, and say so."""
    held = try_lock(results, name, note)
    if held is None:
        note(f"waiting for another run on {results}: {what}")
        held = _acquire(results, name, note, -1)
    try:
        yield
    finally:
        if held is not None:
            held.release()


def _acquire(results: Path, name: str, note: Note, timeout: float) -> HeldLock | None:
    path = results / ".locks" / f"{slug(name)}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:  # a folder nobody may write to: it is the first record that says so
        return HeldLock()
    lock = FileLock(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # filelock's second choice outlives its process
            lock.acquire(timeout=timeout)
    except Timeout:
        return None
    except (OSError, NotImplementedError, UserWarning) as error:
        _say_once(note, f"{results} cannot be locked ({error}): start one run at a time on it")
        return HeldLock()
    return HeldLock(lock)


_said: set[str] = set()


def _say_once(note: Note, line: str) -> None:
    if line not in _said:
        _said.add(line)
        note(line)
