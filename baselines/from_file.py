"""Defenses by name, or from a user's own file: `path/to/file.py:NAME`."""

from __future__ import annotations

import importlib.util
import sys
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
from benchmark.core.records import short_hash
from benchmark.core.specs import Spec, build
from benchmark.core.types import Attack, Defense, Family, Progress, Trained


@dataclass(frozen=True)
class GivenModel(Defense):
    """A model that is trained already.

    What it saw is unknown unless it says so: an attribute `trained_on` of the object, such as
    `{"linf-gradient"}`, or `set()` for a model trained on clean images.
    """

    name: ClassVar[str] = "given"
    trains: ClassVar[bool] = False
    file: str
    make: Callable[[], nn.Module]
    declared: frozenset[str] | None = None
    code: str = ""

    def content(self) -> str:
        """The file's text: the same weights may run through other code."""
        return self.code

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...] | None:
        """Unknown: a declaration names families, not attacks."""
        return None

    def families(self, strengths: Mapping[str, Any]) -> frozenset[str] | None:
        """What was declared."""
        return self.declared

    def fit(
        self, network: nn.Module, train_split: Any, strengths: Mapping[str, Any],
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


def build_defense(text: str) -> tuple[str, Defense]:
    """A defense and its name in tables, from `name[options]` or `file.py:NAME[options]`."""
    spec = Spec.parse(text)
    file, colon, name = spec.name.rpartition(":")
    if not (colon and file.endswith(".py")):
        return str(spec), DEFENSES.build(spec)
    label = str(Spec(f"{Path(file).name}:{name}", spec.options))
    return label, _from_object(_load_object(Path(file), name), spec)


def _load_object(file: Path, name: str) -> Any:
    module = _load_module(file)
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
    name = f"reattack_user_{file.stem}_{short_hash(file.resolve())}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} cannot be imported; expected a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickling look a class's module up
    sys.path.insert(0, str(file.resolve().parent))  # its neighbours are importable, as for a script
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a script may end itself
        raise UsageError(
            f"{file} fails on import: {type(error).__name__}: {error}; "
            "expected a file that can be imported"
        ) from error
    finally:
        sys.path.pop(0)
    return module


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
        file = Path(spec.name.rpartition(":")[0])
        return GivenModel(spec.name, make, _declared(found, spec), short_hash(file.read_bytes()))
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
