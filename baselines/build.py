"""Defenses by name, or from a user's own file: `path/to/file.py:NAME`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from inspect import isabstract
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, get_args

import torch
from torch import nn

from baselines import DEFENSES
from benchmark.core.errors import UsageError, unknown
from benchmark.core.specs import Spec, build
from benchmark.core.types import Attack, Brought, Defense, Family, Progress, Split, Trained
from benchmark.identity.user_file import home_of, load


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
        model = self.make()
        if not isinstance(model, nn.Module):
            raise UsageError(
                f"{self.file}: expected an nn.Module or a function that returns one, "
                f"got {type(model).__name__}"
            )
        model.to(next(network.parameters()).device)
        return Trained(model, self.declared)


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
    """A defense and its name in tables, from `name[options]` or `file.py:NAME[options]`."""
    spec = Spec.parse(text)
    path, colon, name = spec.name.rpartition(":")
    if not (colon and path.endswith(".py")):
        return str(spec), DEFENSES.build(spec)
    file = Path(path)
    module, short = _load_module(file), Spec(f"{file.name}:{name}", spec.options)
    home = home_of(module)
    with home.entered():
        defense = _from_object(_object_in(module, name, file), short)
    brought = Brought(file.resolve(), home.code, home.entered)
    object.__setattr__(defense, "brought", brought)  # they are frozen, and have no such option
    return str(short), defense


def _object_in(module: ModuleType, name: str, file: Path) -> Any:
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if _usable(value, module.__name__)]
        raise unknown(f"name in {file}", name, own)
    return getattr(module, name)


def _usable(value: Any, module: str) -> bool:
    return isinstance(value, nn.Module) or (
        callable(value) and getattr(value, "__module__", None) == module
    )


def _load_module(file: Path) -> ModuleType:
    if not file.is_file():
        raise UsageError(f"no file {file}; expected --defense path/to/file.py:NAME")
    try:
        return load(file)
    except (Exception, SystemExit) as error:  # a script may end itself
        raise UsageError(
            f"{file} fails on import: {type(error).__name__}: {error}; "
            "expected a file that can be imported"
        ) from error


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
