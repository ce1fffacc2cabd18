"""The errors a user can meet, and how what went wrong is told in words that any record can hold.

Each message says what was expected, what came, and what to do. Code that is not ours raises
anything: what would end the program, what cannot say what it is, what takes megabytes to say it.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path


class UsageError(ValueError):
    """The command, a name, an option or an input is wrong: the command line exits with 2."""


class AuditError(RuntimeError):
    """An attack or an adaptation broke the rules: its cell becomes `failed`, never a score."""


class ModelError(AuditError):
    """A model that cannot be evaluated, whatever attacks it: it answers with no logits, say."""


class OverLimit(BaseException):
    """A cell took more time or memory than it may: it becomes `failed`, and the run goes on.

    No `Exception`, so that code which catches those cannot swallow it, nor anybody keep it.
    """


MANY = 20
"""Names beyond which a message has the nearest alone."""


def first_few(words: Sequence[str], most: int) -> str:
    """For a message.

    >>> first_few(["a", "b", "c", "d"], 2)
    'a, b and 2 more'
    """
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more


def unknown(kind: str, name: str, known: Iterable[str], shown_by: str = "") -> UsageError:
    """An unknown name, with the three nearest known ones; and the list, where it is short.

    Else how many there are, and which command shows them.

    >>> str(unknown("network", "resnet", ["resnet18", "small_cnn"]))
    "unknown network 'resnet'; did you mean resnet18? Known: resnet18, small_cnn"
    """
    names = sorted(known)
    many = len(names) > MANY
    close = difflib.get_close_matches(name, names, n=3, cutoff=0 if many else 0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else "."
    all_of_them = f"{len(names)} are known{shown_by and f', see `{shown_by}`'}"
    listed = all_of_them if many else f"Known: {', '.join(names) or 'none'}"
    return UsageError(f"unknown {kind} {name!r}{hint} {listed}")


LINE, PAGE = 2_000, 20_000
"""Characters of a reason and of a traceback."""


class Escape(RuntimeError):
    """Code that is not ours raised what is no Exception: SystemExit, say. That is the cause."""


@contextmanager
def contained() -> Iterator[None]:
    """Let nothing but an Exception out, so that it costs a cell and not the run.

    Ctrl-C passes, and so does what a limit raises.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, OverLimit):
        raise
    except BaseException as error:
        raise Escape from error


def describe(error: BaseException) -> str:
    """One line: what went wrong and, for a crash, where."""
    if isinstance(error, Escape) and error.__cause__ is not None:
        error = error.__cause__
    text = clean(" ".join(_words(error).split()), LINE)
    if isinstance(error, AuditError | UsageError | OverLimit):
        return text or type(error).__name__
    frames = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return f"{type(error).__name__}: {text}"
    frame, line = frames[-1]
    return f"{type(error).__name__}: {text} ({Path(frame.f_code.co_filename).name}:{line})"


def trace(error: BaseException) -> str:
    """The traceback, without its middle where it is long; empty for what was raised nowhere."""
    if error.__traceback__ is None:
        return ""
    try:
        with contained():
            return clean("".join(traceback.format_exception(error)), PAGE)
    except Exception:  # an error that cannot be formatted
        frames = traceback.walk_tb(error.__traceback__)
        where = [f"  {frame.f_code.co_filename}:{line}" for frame, line in frames]
        return clean("\n".join([*where, describe(error)]), PAGE)


def clean(text: str, most: int) -> str:
    r"""Text that UTF-8 can hold, its middle left out where it is longer than `most` characters.

    >>> clean("a\udcffb", 9), clean("abcdefgh", 6)
    ('a\\udcffb', 'abc [2 characters left out] fgh')
    """
    if len(text) > most:
        half = most // 2
        left_out = f" [{len(text) - 2 * half} characters left out] "
        text = text[:half] + left_out + text[-half:]
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _words(error: BaseException) -> str:
    try:
        with contained():
            return str(error)
    except Exception:
        return "it cannot say what"


# What somebody far below has to tell the user: told once, to whoever listens at the time.

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
