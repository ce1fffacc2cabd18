"""What a record says about how it was made, as rows are compared by it, and what it does not say.

Nobody can recompute verdicts from a record: those of others are taken on trust. What is missing is
a flag.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmark.results.records import Record

PARTS = ("data", "weights")
"""Of a fingerprint: without them nobody can say on what, or of which model, a number is."""


def doubts(record: Record) -> list[str]:
    """A flag for each thing that a record which scored something does not say, or says twice."""
    return list(_doubts(record)) if record.status == "done" else []


def _doubts(record: Record) -> Iterator[str]:
    lacking = [name for name in PARTS if not record.fingerprint.get(name)]
    if lacking:
        yield f"fingerprint lacks {', '.join(lacking)}" if record.fingerprint else "no fingerprint"
    if not any(record.provenance.versions.values()):
        yield "no versions"
    said, budget = record.provenance.adaptation, record.cell.budget
    if budget.adapts and said != budget.model_dump():
        yield "says how it adapted in two ways" if said else "no adaptation settings"


def options(record: Record) -> str:
    """The options of a record's attack in one form, in which equal numbers are equal.

    >>> canonical({"steps": 10, "eps": 0.10}) == canonical({"eps": 0.1, "steps": 10.0})
    True
    """
    return canonical(record.provenance.attack_options)


def canonical(found: dict[str, Any]) -> str:
    """Options as JSON with sorted names, whole numbers as what they are among the others."""
    return json.dumps(_numbers(found), sort_keys=True)


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(one) for one in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def differing(one: str, other: str) -> str:
    """What lies between two `options`: `steps 10, not 40`; empty where they are the same."""
    ours, theirs = json.loads(one), json.loads(other)
    names = sorted(name for name in {*ours, *theirs} if _of(ours, name) != _of(theirs, name))
    return ", ".join(f"{name} {_of(ours, name)}, not {_of(theirs, name)}" for name in names)


def _of(found: dict[str, Any], name: str) -> str:
    if name not in found:
        return "unsaid"
    value = found[name]
    short = f"{value:g}" if isinstance(value, float) else ""
    return short if short and float(short) == value else json.dumps(value)
