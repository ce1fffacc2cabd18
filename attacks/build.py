"""How strong each attack is on a data set: a table for those that are listed, a rule for others."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from attacks import ATTACKS
from benchmark.core.errors import UsageError, unknown
from benchmark.core.specs import Spec, number, options_of
from benchmark.core.types import Attack, Shape

Strengths = Mapping[str, Mapping[str, Any]]
"""By norm or name of an attack, which wins over its norm: values for options nobody gave."""
RULE = "by rule"
"""What the rule gave, not a person: kept beside the strengths under this name."""
Ruled = Mapping[str, frozenset[str]]
"""By norm, the options that are still as the rule says."""
STRENGTH, MEDIUM = "strength", "medium"
STRENGTHS = "low", MEDIUM, "high"
"""The option that every attack has besides its own, and what it may be."""
CIFAR = 3 * 32 * 32
"""Numbers in an image of CIFAR-10, whose usual budgets the rule scales."""
LARGE = 128
"""Pixels of a side from which images are attacked with half the linf budget, as on ImageNet."""


@cache
def strengths_of(dataset: str, shape: Shape | None = None, override: str = "") -> Strengths:
    """The tables of one data set; fractions such as "8/255" are read.

    Args:
        dataset: its name; one that is not listed is attacked by a rule.
        shape: of its images, which the rule needs.
        override: TOML of the user's, whose tables win.

    Raises:
        UsageError: the data set is not listed and has no shape, or `override` is no such TOML.
    """
    listed = _listed()
    if dataset in listed:
        found: dict[str, Mapping[str, Any]] = dict(_read(listed[dataset]))
    elif shape is not None:
        found = by_rule(shape)
        found[RULE] = {key: frozenset(table) for key, table in found.items()}
    else:
        raise unknown("data set in attacks/strengths.toml", dataset, listed)
    for key, table in _overriding(override).items():
        found[key] = {**found.get(key, {}), **table}
        found[RULE] = _without(found.get(RULE, {}), key, table)
    return found


def _without(ruled: Ruled, key: str, given: Iterable[str]) -> Ruled:
    return {name: some.difference(given if name == key else ()) for name, some in ruled.items()}


def by_rule(shape: Shape) -> dict[str, Mapping[str, Any]]:
    """Strengths for images (channels, height, width) of any size: CIFAR-10's, scaled.

    >>> by_rule((3, 32, 32))["l2"], by_rule((3, 224, 224))["linf"] == {"eps": 4 / 255}
    ({'eps': 0.5}, True)
    """
    channels, height, width = shape
    numbers, side = channels * height * width, min(height, width)
    patch, stride = side // 4, max(1, side // 8)
    places = -(-(max(height, width) - patch) // stride) + 1
    return {
        "linf": {"eps": (4 if max(height, width) >= LARGE else 8) / 255},
        "l2": {"eps": 0.5 * (numbers / CIFAR) ** 0.5},
        "l1": {"eps": 12 * numbers / CIFAR},
        "l0": {"eps": max(1, round(0.004 * height * width))},
        "spatial": {
            "degrees": 15, "shift": side // 16, "scale": 0.25, "shear": 0.3, "corner": 0.12,
            "bend": 0.06, "flow": side / 64,
        },
        "colour": {
            "eps": 0.06, "hue": 45, "saturation": 0.75, "gamma": 2.5, "tone": 0.2, "balance": 0.3,
        },
        "frequency": {"eps": 8 / 255, "kept": 0.25, "low": 0.25, "high": 0.5},
        "corruption": {
            "contrast": 0.5, "brightness": 0.3, "sigma": 1.5 * side / 32, "haze": 0.4,
            "flakes": 0.4, "ripple": 0.06, "grain": 0.15, "glass": 0.1, "quanta": 0.03,
            "mosaic": 0.6, "slip": 0.04, "severity": 3 if side >= 16 else 2,
        },
        "patch": {
            "side": patch, "stride": stride, "places": places, "width": max(1, side // 16),
        },
    }  # fmt: skip


def at_strength(attack: Attack, strength: str) -> Attack:
    """The attack, weaker (`low`) or stronger (`high`) by what it says in `low_and_high`.

    What is counted stays whole, and at least 1 where it was.

    Raises:
        UsageError: another word, or an attack of one strength alone.
    """
    if strength not in STRENGTHS:
        raise UsageError(
            f"{attack.name}[{STRENGTH}={strength}]: expected one of {', '.join(STRENGTHS)}"
        )
    if strength == MEDIUM:
        return attack
    place = STRENGTHS.index(strength)
    scaled = {
        option: _times(getattr(attack, option), (low, 1.0, high)[place])
        for option, (low, high) in attack.low_and_high.items()
        if hasattr(attack, option)
    }
    if not scaled:
        raise UsageError(f"{attack.name} has one strength: it says nothing in `low_and_high`")
    made = replace(attack, **scaled)  # type: ignore[type-var]
    object.__setattr__(made, "by_rule", attack.by_rule)
    return made


def _times(value: float, factor: float) -> float:
    if isinstance(value, int):
        return max(1, round(value * factor)) if value else 0
    return value * factor


@cache
def _listed() -> dict[str, Any]:
    return tomllib.loads(files("attacks").joinpath("strengths.toml").read_text("utf-8"))


def _overriding(text: str) -> Strengths:
    try:
        return _read(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, AttributeError, ValueError) as error:
        raise UsageError(
            f'--strengths: expected tables such as linf = {{ eps = "8/255" }}, got what cannot be '
            f"read ({' '.join(str(error).split())})"
        ) from None


def check_override(text: str, planned: Iterable[Attack]) -> None:
    """Refuse what would do nothing: a table of no attack, or an option that none of its has.

    Args:
        text: TOML of the user's.
        planned: attacks that may be in no list.

    Raises:
        UsageError: names it, and what there is.
    """
    tables = _overriding(text)
    if not tables:
        return
    options: dict[str, set[str]] = {}
    for attack in (*map(ATTACKS.get, ATTACKS.names()), *(type(one) for one in planned)):
        for key in (attack.norm, attack.name):
            options.setdefault(key, set()).update(options_of(attack))
    for key, table in tables.items():
        if key not in options:
            raise unknown("norm or attack in --strengths", key, options)
        for option in table.keys() - options[key]:
            raise unknown(f"option of {key} in --strengths", option, options[key])


def _read(tables: Mapping[str, Any]) -> Strengths:
    return {
        key: {
            option: number(value) if isinstance(value, str) else value
            for option, value in table.items()
        }
        for key, table in tables.items()
    }


def build_attack(spec: Spec | str, strengths: Strengths) -> Attack:
    """The attack a spec describes, with the options nobody gave taken from `strengths`.

    `strength=low` or `strength=high` beside them is relative to what it is then (medium).
    """
    spec = Spec.parse(spec) if isinstance(spec, str) else spec
    component = ATTACKS.get(spec.name)
    if STRENGTH in dict(spec.options):
        plain = Spec(spec.name, tuple(one for one in spec.options if one[0] != STRENGTH))
        return at_strength(build_attack(plain, strengths), dict(spec.options)[STRENGTH])
    tables = {key: strengths.get(key, {}) for key in (component.norm, component.name)}
    defaults = {key: value for table in tables.values() for key, value in table.items()}
    attack: Attack = ATTACKS.build(spec, defaults)
    ruled = strengths.get(RULE, {}).get(component.norm, frozenset()) & options_of(component).keys()
    if ruled - strengths.get(component.name, {}).keys() - dict(spec.options).keys():
        object.__setattr__(attack, "by_rule", True)  # they are frozen, and have no such option
    return attack
