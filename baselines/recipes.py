"""Recipes: options of training by data set and defense, named in one: `pgd_at[recipe=mnist]`."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from benchmark.core.errors import UsageError, unknown
from benchmark.core.specs import Spec

Recipes = dict[str, dict[str, dict[str, str]]]
"""By recipe and defense: options as text."""


@cache
def recipes() -> Recipes:
    """Those of `recipes.toml`."""
    read = tomllib.loads(files("baselines").joinpath("recipes.toml").read_text("utf-8"))
    return {
        name: {
            defense: {key: _as_text(value) for key, value in options.items()}
            for defense, options in by_defense.items()
        }
        for name, by_defense in read.items()
    }


def with_recipe(spec: Spec) -> Spec:
    """The spec with the options of the recipe it names; what it says itself goes before.

    Raises:
        UsageError: no such recipe, or none for this defense.
    """
    said = dict(spec.options)
    name = said.pop("recipe", None)
    if name is None:
        return spec
    if name not in recipes():
        raise unknown("recipe", name, recipes())
    known = recipes()[name]
    if spec.name not in known:
        raise UsageError(f"recipe {name} has nothing for {spec.name}, only for {', '.join(known)}")
    return Spec(spec.name, tuple(sorted({**known[spec.name], **said}.items())))


def _as_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
