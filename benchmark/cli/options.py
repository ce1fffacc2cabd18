"""Lists as flags give them: `0,1,5` and `finetune,head`; and the flag of every command."""

from __future__ import annotations

from benchmark.core.errors import UsageError

DEBUG = "--debug"


def words(flag: str, text: str | None) -> list[str] | None:
    """Comma-separated names; None where the flag was not given."""
    found = [part.strip() for part in (text or "").split(",") if part.strip()]
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
