"""Attacks that no registry has: in a user's Python file, or brought by the defense they attack.

The first are written `path/to/file.py:NAME[options]` and known from then on by label, the second
are called `adaptive:NAME`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from inspect import isabstract
from pathlib import Path
from typing import Any

from attacks import ATTACKS
from benchmark.core.errors import UsageError
from benchmark.core.specs import Spec, label_of
from benchmark.core.types import Attack, Defense
from benchmark.identity.user_file import named_in
from benchmark.results.cells import ADAPTIVE

_texts: dict[str, str] = {}


def take_attack(text: str) -> str:
    """What an attack is called in cells; one in a file is read, and found by that name after.

    Raises:
        UsageError: no such file or name, or it is no attack.
    """
    spec = Spec.parse(text)
    path, colon, name = spec.name.rpartition(":")
    if not (colon and path.endswith(".py")):
        return text
    label = label_of(spec.name)
    whole = f"{Path(path).absolute()}:{name}"
    if _texts.setdefault(label, whole) != whole:
        raise UsageError(f"{label} is {_texts[label]}, and {whole}: rename one of the files")
    found: Any = named_in(Path(path), name, "--attacks")[0]
    if not (isinstance(found, type) and issubclass(found, Attack) and _is_dataclass(found)):
        raise UsageError(
            f"{text}: expected a dataclass that is a `benchmark.core.types.Attack`, got {found!r}"
        )
    if isabstract(found):
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise UsageError(f"{text}: an Attack needs {missing} too")
    ATTACKS.give(label, found)
    return str(Spec(label, spec.options))


def brought_attacks(defense: Defense, strengths: Mapping[str, Any]) -> dict[str, Attack]:
    """The attacks that a defense brings, by name in cells.

    Raises:
        UsageError: two of them have one name.
    """
    attacks = defense.adaptive_attacks(strengths)
    found = {f"{ADAPTIVE}{attack.name}": attack for attack in attacks}
    if len(found) < len(attacks):
        names = ", ".join(sorted(attack.name for attack in attacks))
        raise UsageError(f"{defense.name} brings two attacks of one name: {names}; rename one")
    return found


def _is_dataclass(kind: type) -> bool:
    return is_dataclass(kind)


def given_attacks(names: list[str]) -> tuple[tuple[str, str], ...]:
    """Of these attacks by name, those that were read from files: where they are."""
    labels = {Spec.parse(name).name for name in names}
    return tuple((label, text) for label, text in _texts.items() if label in labels)
