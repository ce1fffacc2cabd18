"""What the flags of several commands share: their types, and how what they are given is read."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.models import CommandFunctionType

from benchmark.core.errors import UsageError
from benchmark.core.specs import split

DEBUG = "--debug"
LIMIT = "2GB"
"""Of crafted examples that are kept, where nobody says how much."""
TIMES = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
Results = Annotated[Path, typer.Option("--results", help="Folder of records and trained models.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Network = Annotated[str | None, typer.Option("--network", help="As in `run`.")]
Strengths = Annotated[Path | None, typer.Option("--strengths", help="As in `run`.")]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Where data sets are.")]
Download = Annotated[bool, typer.Option("--download", help="As in `run`.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the cells and what they would cost.")]


class Once(TyperCommand):
    """A command whose flags are given once, but for those that take a list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As ever; UsageError for a flag with two values, whichever they are."""
        order: list[Any] = self.make_parser(ctx).parse_args(args=[*args])[-1]
        for flag, times in Counter(order).items():
            if times > 1 and not (flag.multiple or flag.is_flag):
                raise UsageError(f"{flag.opts[0]} is given {times} times; keep one")
        return super().parse_args(ctx, args)


class App(typer.Typer):
    """A typer all of whose commands are such."""

    def command(  # type: ignore[override]  # of its many parameters, those that we use
        self, name: str | None = None, *, epilog: str | None = None
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        """As `typer.Typer.command`."""
        return super().command(name, cls=Once, epilog=epilog)


def text_of(flag: str, file: Path | None) -> str:
    """What a file of the user's says; empty where the flag was not given."""
    try:
        return file.read_text("utf-8") if file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{flag}: cannot read {file} ({error})") from None


def words(flag: str, text: str | None) -> list[str] | None:
    """Comma-separated names, options in brackets; None where the flag was not given."""
    found = split(text or "")
    if text is not None and not found:
        raise UsageError(
            f"{flag}: expected names, got {text!r}; leave the flag out for the default"
        )
    return found or None


def numbers(flag: str, text: str | None) -> list[int] | None:
    """Comma-separated whole numbers; None where the flag was not given."""
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"{flag}: expected whole numbers such as 0,1,5, got {text!r}") from None


def grid(flag: str, text: str) -> list[float]:
    """Comma-separated numbers above 0, each once, ascending."""
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < value < float("inf") for value in found):
        raise UsageError(f"{flag}: expected numbers above 0 such as 0.01,0.1, got {text!r}")
    return found


def size_in_bytes(flag: str, text: str) -> int:
    """Bytes; UsageError that names `flag` for what is no size.

    >>> size_in_bytes("--limit", "1.5 GB"), size_in_bytes("--limit", "2KiB")
    (1500000000, 2048)
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        size = TypeAdapter(ByteSize).validate_python(text.strip())
    except (ValidationError, OverflowError):
        size = ByteSize(-1)
    if size < 0:
        raise UsageError(f"{flag}: expected a size such as 500MB or 2GB, got {text!r}")
    return int(size)


def show_size(size: int) -> str:
    """A number and its unit.

    >>> show_size(999), show_size(123_456_789)
    ('999 B', '123.5 MB')
    """
    from pydantic import ByteSize

    return ByteSize(size).human_readable(decimal=True, separator=" ")


def time_in_seconds(flag: str, text: str) -> float:
    """Seconds; UsageError that names `flag` for what is no time.

    >>> time_in_seconds("--older", "1.5h")
    5400.0
    """
    try:
        return abs(float(text[:-1])) * TIMES[text[-1:]]
    except (ValueError, KeyError):
        raise UsageError(f"{flag}: expected a time such as 90m, 12h or 30d, got {text!r}") from None


def show_time(seconds: float) -> str:
    """The largest unit that fits.

    >>> show_time(59), show_time(7300), show_time(90000)
    ('0 min', '2 h', '1 d')
    """
    unit = next((unit for unit in ("d", "h") if seconds >= TIMES[unit]), "m")
    return f"{seconds // TIMES[unit]:.0f} {'min' if unit == 'm' else unit}"


@contextmanager
def importing() -> Iterator[None]:
    """Import large packages without the garbage collector, which never looks at them again.

    `import torch` makes more than 150,000 objects that stay; looking through them again and again
    is a quarter of the time of a short command. A process that has torch already is somebody
    else's, and is left as it is.
    """
    first = "torch" not in sys.modules and gc.isenabled()
    if first:
        gc.disable()
    try:
        yield
    finally:
        if first:
            gc.enable()
            gc.freeze()
