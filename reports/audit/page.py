"""One page for one audit: a file that works offline, without scripts and without a request."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from benchmark.results.audits import Audit, Checked, Verdict
from benchmark.results.flags import Flag
from benchmark.results.store import atomic_path
from reports.audit.console import LONG, few, measured
from reports.tidy.escape import visible

SAYS: Mapping[Verdict, str] = {
    "sound": "Nothing was found that would make its robust accuracy doubtful.",
    "doubtful": "Its robust accuracy is less certain than it looks.",
    "broken": "Attacks fail on it for reasons of their own: for all anybody knows, its robust "
    "accuracy is an artefact.",
}
"""What each verdict means."""


class ShownFlag(NamedTuple):
    """A flag, explained; texts are raw: the page escapes them."""

    flag: Flag
    measured: str
    paper: str
    address: str


class ShownPart(NamedTuple):
    """A part: what it measured, found and took."""

    name: str
    state: str
    checked: Checked | None
    numbers: tuple[tuple[str, str], ...]
    cost: str


def write_page(audit: Audit, path: Path) -> Path:
    """Write the page at once or not at all; UsageError if it cannot be written."""
    with atomic_path(path, durable=False) as temporary:
        temporary.write_text(page(audit), encoding="utf-8")
    return path


def page(audit: Audit) -> str:
    """The whole page."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = lambda text: visible(text, LONG)
    return environment.from_string(_text("audit.html")).render(
        audit=audit, says=SAYS[audit.verdict], few=few(audit),
        flags=[_flag(one) for one in audit.flags],
        parts=[_part(name, audit.parts.get(name)) for name in {**_all(audit)}],
        style=Markup(_text("board.css") + _text("audit.css")),
        seconds=sum(part.cost.seconds for part in audit.parts.values()),
    )  # fmt: skip


def _all(audit: Audit) -> dict[str, None]:
    return dict.fromkeys([*audit.planned, *audit.parts])


def _flag(flag: Flag) -> ShownFlag:
    paper, _, address = flag.kind.paper.rpartition(", ")
    return ShownFlag(flag, measured(flag), paper, address)


def _part(name: str, checked: Checked | None) -> ShownPart:
    if checked is None:
        return ShownPart(name, "not yet", None, (), "")
    flags = len(checked.flags)
    found = f"{flags} flag{'s' if flags > 1 else ''}" if flags else "nothing found"
    state = "failed" if checked.failed else "skipped" if checked.skipped else found
    cost = checked.cost
    passes = f", {cost.forwards:,} + {cost.backwards:,} passes" if cost.forwards else ""
    return ShownPart(name, state, checked, _numbers(checked), f"{cost.seconds:.2f} s{passes}")


def _numbers(checked: Checked) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, "" if value is None else f"{value:.4g}") for name, value in checked.numbers.items()
    )


def _text(name: str) -> str:
    return (files("reports") / "page" / name).read_text("utf-8")
