"""An audit as lines on a terminal, and as JSON that explains itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmark.results.audits import Advised, Audit
from benchmark.results.flags import Flag
from reports.tidy.escape import visible
from reports.tidy.format import percent

LONG = 300
"""Letters of a message that are shown."""
ENOUGH = 50
"""Validation images, of which a finding is 14 %: 7 that one of two attacks alone breaks."""


def lines(audit: Audit) -> Iterator[str]:
    """The verdict, then a line for each flag, each part that could not look, and what is left."""
    seconds = sum(part.cost.seconds for part in audit.parts.values())
    yield (
        f"{visible(model(audit), LONG)}: {audit} "
        f"[{audit.images} validation image{'s' if audit.images != 1 else ''}, {seconds:.1f} s]"
    )
    if few(audit):
        yield f"  {few(audit)}"
    for flag in audit.flags:
        yield f"  {flag.code}: {_line(flag)}"
    for name, part in audit.parts.items():
        if part.skipped and not part.failed:
            yield f"  {visible(name)} skipped: {visible(part.skipped, LONG)}"
    if audit.missing:
        yield f"  not looked at yet: {', '.join(map(visible, audit.missing))}"
    if audit.advised:
        yield f"  what the doubt leaves: {left(audit.advised)}"


def few(audit: Audit) -> str:
    """What so few images cannot show, in one line; nothing where there are enough."""
    if audit.images >= ENOUGH:
        return ""
    return "few images: where attacks are compared, a finding takes 7 images that one alone breaks"


def _line(flag: Flag) -> str:
    kind, number = flag.kind, measured(flag)
    seen = visible(flag.message, LONG)
    return f"{f'{number}; ' if number else ''}{seen}; {kind.meaning}; {kind.advice} ({kind.paper})"


def model(audit: Audit) -> str:
    """Which model it is, as cells name it."""
    return f"{audit.dataset}/{audit.network}/{audit.defense}/s{audit.seed}"


def measured(flag: Flag) -> str:
    """The number against its threshold, as far as there are any.

    >>> measured(Flag(code="bounded", message="", value=0.071, threshold=0.05))
    '0.071 against 0.05'
    """
    if flag.value is None:
        return ""
    limit = "" if flag.threshold is None else f" against {flag.threshold:.4g}"
    return f"{flag.value:.4g}{limit}"


def left(advised: Advised) -> str:
    """What advised attacks leave of the score, in one line."""
    each = ", ".join(
        f"{name} {'could not run' if value is None else percent(value)}"
        for name, value in advised.attacks.items()
    )
    if advised.robust is None or advised.interval is None:
        return f"no number ({each})"
    ends = " to ".join(map(percent, advised.interval))
    return (
        f"{percent(advised.robust)} % right ({ends}; 95 %, Wilson; n = {advised.n}) under the "
        f"worst of {each}"
    )


def as_json(audit: Audit) -> dict[str, Any]:
    """The record, with its verdict and each flag explained."""
    found: dict[str, Any] = json.loads(audit.model_dump_json())
    flags = [
        {**flag.model_dump(), **flag.kind.model_dump(), "attacks": [*flag.kind.attacks]}
        for flag in audit.flags
    ]
    return {**found, "verdict": audit.verdict, "missing": audit.missing, "flags": flags}
