"""Defenses by name, with their recipes, or from a user's own file: `path/to/file.py:NAME`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib.resources import files
from inspect import isabstract
from pathlib import Path
from typing import Any, ClassVar, get_args

import torch
from pydantic import ValidationError
from torch import nn

from baselines import DEFENSES
from benchmark.core.errors import UsageError, unknown
from benchmark.core.schema import About
from benchmark.core.specs import Spec, build, label_of, options_of
from benchmark.core.types import Attack, Brought, Defense, Family, Progress, Split, Trained
from benchmark.identity.user_file import named_in

Recipes = dict[str, dict[str, dict[str, str]]]
"""By recipe and defense: options as text."""


@dataclass(frozen=True)
class GivenModel(Defense):
    """A model that is trained already.

    What it saw is unknown unless it says so: an attribute `trained_on` of the object, such as
    `{"linf-gradient"}`, or `set()` for a model trained on clean images.
    """

    name: ClassVar[str] = "given"
    trains: ClassVar[bool] = False
    file: str
    """Its name and the object's in it, wherever it lies."""
    make: Callable[[], nn.Module]
    declared: frozenset[str] | None = None

    @property
    def brings_network(self) -> bool:  # type: ignore[override]
        """It does."""
        return True

    @property
    def network(self) -> str:  # type: ignore[override]
        """It is its own."""
        return self.file

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...] | None:
        """Unknown: a declaration names families, not attacks."""
        return None

    def families(self, strengths: Mapping[str, Any]) -> frozenset[str] | None:
        """What was declared."""
        return self.declared

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """The given model; nothing is trained and `network` is not used."""
        return Trained(self.make_network(), self.declared)

    def make_network(self) -> nn.Module:
        """See `Defense`; UsageError if it is no network."""
        model = self.make()
        if not isinstance(model, nn.Module):
            raise UsageError(
                f"{self.file}: expected an nn.Module or a function that returns one, "
                f"got {type(model).__name__}"
            )
        return model


def build_defenses(texts: Iterable[str]) -> dict[str, tuple[str, Defense]]:
    """By their texts, each with its name in tables: files that share one show their folders too."""
    built = {text: build_defense(text) for text in dict.fromkeys(texts)}
    files: dict[str, dict[str, Path]] = {}
    for text, (label, defense) in built.items():
        if defense.brought:
            files.setdefault(label, {})[text] = defense.brought.file
    for label, places in files.items():
        for text, folders in _told_apart(places).items():
            built[text] = f"{folders}{label}", built[text][1]
    return built


def _told_apart(files: Mapping[str, Path]) -> dict[str, str]:
    """As few of the folders around each file as tell it from the others; none for the same file.

    >>> _told_apart({"1": Path("/a/first/model.py"), "2": Path("/a/second/model.py")})
    {'1': 'first/', '2': 'second/'}
    >>> _told_apart({"1": Path("/a/model.py"), "2": Path("/a/model.py")})
    {'1': '', '2': ''}
    """
    different = set(files.values())
    depth = 1
    while len({file.parts[-depth:] for file in different}) < len(different):
        depth += 1
    return {text: "".join(f"{part}/" for part in file.parts[-depth:-1])
            for text, file in files.items()}  # fmt: skip


def build_defense(text: str) -> tuple[str, Defense]:
    """A defense and its name in tables, from `name[options]` or `file.py:NAME[options]`.

    An option `label` that is not the defense's own is what tables call it: for display alone.
    """
    spec, label = _without_label(Spec.parse(text))
    name, defense = _built(spec)
    if label and "label" in options_of(type(defense)):
        return _built(Spec.parse(text))
    if label:
        about = _about(defense.about.model_dump() | {"label": label}, name)
        object.__setattr__(defense, "about", about)  # they are frozen, and have no such option
    return name, defense


def about_of(name: str) -> About:
    """What is known of a registered defense by its name in tables; nothing of any other."""
    try:
        return DEFENSES.get(Spec.parse(name).name.partition("@")[0]).about
    except UsageError:
        return About()


def _about(found: Any, name: str) -> About:
    """What an object says about itself, an `About` or a mapping; nothing if it is neither.

    Raises:
        UsageError: it is a mapping of something else.
    """
    try:
        if isinstance(found, Mapping):
            return About.model_validate({**found})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"{name}: about.{'.'.join(map(str, first['loc']))}: {first['msg']}; expected short "
            f"texts under {', '.join(About.model_fields)}"
        ) from None
    return found if isinstance(found, About) else About()


def _without_label(spec: Spec) -> tuple[Spec, str]:
    label = dict(spec.options).get("label", "")
    return Spec(spec.name, tuple(one for one in spec.options if one[0] != "label")), label


def _built(spec: Spec) -> tuple[str, Defense]:
    path, colon, name = spec.name.rpartition(":")
    if not (colon and path.endswith(".py")):
        kind, two, model = spec.name.partition(":")
        if two:
            options = (*spec.options, ("model", model))
            return label_of(str(spec)), DEFENSES.build(Spec(kind, tuple(sorted(options))))
        return str(spec), DEFENSES.build(with_recipe(spec))
    file = Path(path)
    short = Spec(f"{file.name}:{name}", spec.options)
    found, home = named_in(file, name, "--defense")
    with home.entered():
        defense = _from_object(found, short)
    object.__setattr__(defense, "about", _about(getattr(found, "about", None), short.name))
    brought = Brought(file.resolve(), home.code, home.entered)
    object.__setattr__(defense, "brought", brought)  # they are frozen, and have no such option
    return str(short), defense


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


def _from_object(found: Any, spec: Spec) -> Defense:
    usable = is_dataclass(found) and not isabstract(found)
    if isinstance(found, type) and issubclass(found, Defense):
        if not usable:
            raise UsageError(f"{spec.name}: expected a dataclass with a method fit, got {found!r}")
        defense: Defense = build(found, spec, {})
        return defense
    if spec.options:
        raise UsageError(f"{spec}: only a Defense class takes options; drop the brackets")
    if isinstance(found, Defense):
        return found
    if isinstance(found, nn.Module) or callable(found):
        make = (lambda: found) if isinstance(found, nn.Module) else found
        return GivenModel(spec.name, make, _declared(found, spec))
    raise UsageError(
        f"{spec.name}: expected a Defense class, an nn.Module or a function that returns one, "
        f"got {type(found).__name__}"
    )


def _declared(found: Any, spec: Spec) -> frozenset[str] | None:
    declared = getattr(found, "trained_on", None)
    if declared is None:
        return None
    if isinstance(declared, str) or not isinstance(declared, Iterable):
        raise UsageError(
            f"{spec.name}: expected trained_on to be a set of families such as "
            f"{{'linf-gradient'}}, got {declared!r}"
        )
    for family in declared:
        if family not in get_args(Family):
            raise unknown(f"family in trained_on of {spec.name}", str(family), get_args(Family))
    return frozenset(declared)
