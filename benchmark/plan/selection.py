"""Which attacks an expression stands for: names, wildcards, families; scored, or shown in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attacks import ATTACKS
from benchmark.core.errors import UsageError, unknown
from benchmark.core.specs import Spec, split
from benchmark.plan.own_attack import take_attack


def orders(
    wanted: Mapping[str, Any], scored: Sequence[Spec], trained_on: frozenset[str] | None
) -> list[tuple[Spec, ...]]:
    """What is shown, one attack after another: each order once; an empty one is the scored attack.

    Raises:
        UsageError: an unknown attack, an empty sequence, or a sequence beside other shown ones.
    """
    if wanted.get("sequence") is not None:
        if wanted["shown"] != "self":
            raise UsageError("expected --shown or --sequence, got both; drop one")
        arrivals = [Spec.parse(take_attack(text)) for text in split(wanted["sequence"])]
        if not arrivals:
            raise UsageError(
                f"--sequence {wanted['sequence']!r} names no attack; "
                "expected names in the order they arrive"
            )
        return [tuple(arrivals[: stage + 1]) for stage in range(len(arrivals))]
    if wanted["shown"] == "self":
        return [()]
    if wanted["shown"] == "each":
        return [(spec,) for spec in scored]
    return [(spec,) for spec in select(wanted["shown"], trained_on, "--shown")]


def select(
    expression: str, trained_on: frozenset[str] | None, flag: str = "--attacks"
) -> Iterator[Spec]:
    """The attacks an expression stands for, each once, in the order named.

    Parts: a name with or without options, a wildcard (`pgd_*`), `all`, `family:NAME`, or `unseen`:
    the families the defense was not trained on (all of them when nobody knows what it was).
    `adaptive` are those that a defense brings: none here, whoever plans adds them. Those
    that only repeat others (`Attack.only_by_name`) are had by a name or a wildcard.
    """
    seen: set[str] = set()
    for part in split(expression):
        for spec in _select_part(part, trained_on or frozenset()):
            if str(spec) not in seen:
                seen.add(str(spec))
                yield spec
    if not seen and "adaptive" not in split(expression):
        raise UsageError(f"{flag} {expression!r} names no attack; expected names, all or unseen")


def _select_part(part: str, trained_on: frozenset[str]) -> Iterable[Spec]:
    found = {name: ATTACKS.get(name) for name in ATTACKS.names()}
    families = {name: one.family for name, one in found.items() if not one.only_by_name}
    if part == "adaptive":
        return []
    if part == "all":
        return [Spec(name) for name in families]
    if part == "unseen":
        return [Spec(name) for name, family in families.items() if family not in trained_on]
    if part.startswith("family:"):
        wanted = part.removeprefix("family:")
        if wanted not in families.values():
            raise unknown("family of attacks", wanted, set(families.values()))
        return [Spec(name) for name, family in families.items() if family == wanted]
    spec = Spec.parse(take_attack(part))
    if any(mark in spec.name for mark in "*?"):
        return [Spec(name, spec.options) for name in ATTACKS.match(spec.name)]
    return [spec]
