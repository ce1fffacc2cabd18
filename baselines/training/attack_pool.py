"""Attacks to train on, by names joined by `+`: `pgd_linf+pgd_l2`, `family:l1-gradient+square`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attacks import ATTACKS
from attacks.build import build_attack
from benchmark.core.errors import UsageError, unknown
from benchmark.core.specs import Spec, options_of
from benchmark.core.types import Attack

POOL = "pgd_linf+pgd_l2"
"""What defenses against several attacks train on unless told otherwise."""
CHEAP = {"angles": "7", "shifts": "3", "draws": "1"}
"""Options of the attacks that `family:NAME` brings into training, where they have them."""
MOST_PASSES = 100
"""What such an attack may cost an image."""


def pool(names: str, steps: int, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
    """The attacks in `names` at the strengths of the data set; those that iterate take `steps`.

    Raises:
        UsageError: an attack or a family nobody knows, or a family too dear to train on.
    """
    parts = names.split("+")
    return tuple(attack for part in parts for attack in _named(part, steps, strengths))


def check_family(family: str) -> None:
    """Raise UsageError unless some attack is of this family."""
    families = {ATTACKS.get(name).family for name in ATTACKS.names()}
    if family not in families:
        raise unknown("family of attacks", family, families)


def _named(part: str, steps: int, strengths: Mapping[str, Any]) -> list[Attack]:
    """One attack by its name, or those of ours of a family that are cheap enough to train on."""
    family = part.removeprefix("family:")
    if family == part:
        attack = build_attack(_shortened(part, {"steps": str(steps)}), strengths)
        if attack.needs_knowledge:
            raise UsageError(f"{part} needs models or images of its own: nobody can train on it")
        return [attack]
    check_family(family)
    own = [ATTACKS.get(name) for name in ATTACKS.names()]
    options = {"steps": str(steps), **CHEAP}
    found = [
        build_attack(_shortened(one.name, options), strengths)
        for one in own
        if one.family == family and one.origin == "reattack" and not one.only_by_name
    ]
    found = [attack for attack in found if not attack.needs_knowledge]
    cheap = [attack for attack in found if attack.passes <= MOST_PASSES]
    if not cheap:
        raise UsageError(
            f"{part}: expected attacks of ours of at most {MOST_PASSES} passes an image, got "
            f"{', '.join(attack.name for attack in found) or 'none'}; name those to train on"
        )
    return cheap


def _shortened(name: str, options: Mapping[str, str]) -> Spec:
    allowed = options_of(ATTACKS.get(name))
    return Spec(name, tuple((key, text) for key, text in options.items() if key in allowed))
