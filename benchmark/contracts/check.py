"""One contract check: a small named function that raises when a rule is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeVar

from benchmark.core.errors import describe

S = TypeVar("S")
Rule = Callable[[S], str | None]
"""Returns a remark or nothing, raises Broken, NotApplicable, or whatever goes wrong inside."""

WORDS = {"passed": "ok", "failed": "FAILED", "skipped": "skipped"}


class Broken(Exception):
    """The rule is broken: expected what, got what."""


class NotApplicable(Exception):
    """The rule says nothing here, and why."""


class Check(NamedTuple):
    """How one check ended."""

    name: str
    status: Literal["passed", "failed", "skipped"]
    message: str

    def __str__(self) -> str:
        line = f"{WORDS[self.status]:8}{self.name}"
        return f"{line}: {self.message}" if self.message else line


def expect(holds: bool, expected: object, got: object) -> None:
    """Raise Broken saying what was expected and what came, unless it `holds`."""
    if not holds:
        raise Broken(f"expected {expected}, got {got}")


def check_all(needed: Sequence[Rule[S]], others: Sequence[Rule[S]], subject: S) -> Iterator[Check]:
    """One check per rule, named like its function; nothing goes on without the `needed` ones."""
    for rule in needed:
        found = check(rule, subject)
        yield found
        if found.status == "failed":
            yield Check("everything else", "skipped", f"needs '{found.name}'")
            return
    for rule in others:
        yield check(rule, subject)


def check(rule: Rule[S], subject: S) -> Check:
    """Apply one rule; a crash inside it is a failure with its reason."""
    try:
        return Check(_name(rule), "passed", rule(subject) or "")
    except NotApplicable as reason:
        return Check(_name(rule), "skipped", str(reason))
    except Broken as broken:
        return Check(_name(rule), "failed", str(broken))
    except Exception as error:
        return Check(_name(rule), "failed", describe(error))


def _name(rule: Rule[S]) -> str:
    return rule.__name__.replace("_", " ")
