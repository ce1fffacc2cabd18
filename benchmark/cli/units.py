"""Sizes and times as people write them: `2GB`, `500 MB`, `30d`, `12h`."""

from __future__ import annotations

import re

from benchmark.core.errors import UsageError

SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
         "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}  # fmt: skip
TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_AMOUNT = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[a-z]*)")


def size_in_bytes(flag: str, text: str) -> int:
    """Bytes; UsageError that names `flag` for what is no size.

    >>> size_in_bytes("--limit", "1.5 GB"), size_in_bytes("--limit", "2KiB")
    (1500000000, 2048)
    """
    return int(_parse(flag, text, SIZES, "a size such as 500MB or 2GB"))


def time_in_seconds(flag: str, text: str) -> float:
    """Seconds; UsageError that names `flag` for what is no time.

    >>> time_in_seconds("--older", "1.5h")
    5400.0
    """
    return _parse(flag, text, TIMES, "a time such as 90m, 12h or 30d")


def _parse(flag: str, text: str, units: dict[str, int], expected: str) -> float:
    match = _AMOUNT.fullmatch(text.strip().lower())
    if match is None or match["unit"] not in units:
        raise UsageError(f"{flag}: expected {expected}, got {text!r}")
    return float(match["number"]) * units[match["unit"]]


def show_size(size: int) -> str:
    """Three digits and a unit.

    >>> show_size(999), show_size(123_456_789)
    ('999 B', '123 MB')
    """
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}"


def show_time(seconds: float) -> str:
    """The largest unit that fits.

    >>> show_time(59), show_time(7300), show_time(90000)
    ('59 s', '2 h', '1 d')
    """
    for unit in ("d", "h"):
        if seconds >= TIMES[unit]:
            return f"{seconds // TIMES[unit]:.0f} {unit}"
    return f"{seconds // 60:.0f} min" if seconds >= 60 else f"{max(seconds, 0):.0f} s"
