"""What somebody far below has to tell the user: told once, to whoever listens at the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Note = Callable[[str], None]
_listener: ContextVar[Note | None] = ContextVar("listener", default=None)
_told: set[str] = set()


@contextmanager
def heard_by(note: Note) -> Iterator[None]:
    """Whatever is told inside goes to `note`."""
    before = _listener.set(note)
    try:
        yield
    finally:
        _listener.reset(before)


def tell_once(line: str) -> None:
    """Tell a line that this process has not told yet; where nobody listens, keep it for later."""
    note = _listener.get()
    if note is not None and line not in _told:
        _told.add(line)
        note(line)
