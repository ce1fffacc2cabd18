"""Names to components. A file placed in the package is found by itself; nothing else is edited."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from benchmark.core.errors import UsageError, unknown
from benchmark.core.specs import Spec, build

T = TypeVar("T")


class Registry(Generic[T]):
    """The components of one axis of the matrix, by name.

    Discovery imports every module of `package` and every entry point of the group
    `reattack.<package>`, once, at the first look-up. A module that fails to import is kept in
    `unavailable` with its reason, so one broken file does not hide the others.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind, self.package = kind, package
        self.unavailable: dict[str, str] = {}
        self._components: dict[str, type[T]] = {}
        self._given: dict[str, type[T]] = {}
        self._discovered = False

    def register(self, component: type[T]) -> type[T]:
        """Class decorator: add a component under its `name`; a name taken already is an error."""
        name: str = component.name  # type: ignore[attr-defined]
        if name in self._components and self._components[name] is not component:
            other = self._components[name]
            raise UsageError(
                f"{self.kind} {name!r} is registered twice: "
                f"{other.__module__}.{other.__qualname__} and "
                f"{component.__module__}.{component.__qualname__}; rename one"
            )
        self._components[name] = component
        return component

    def give(self, name: str, component: type[T]) -> None:
        """Make a component of the user's known by `name` alone: no list or wildcard has it."""
        self._given[name] = component

    def refuse(self, name: str, reason: str) -> None:
        """Say that a component people look for is left out on purpose, and why."""
        self.unavailable[name] = reason

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._discover()
        return sorted(self._components)

    def get(self, name: str) -> type[T]:
        """The component called `name`; UsageError with suggestions if there is none."""
        self._discover()
        if name in self._given:
            return self._given[name]
        if name in self.unavailable and name not in self._components:
            raise UsageError(f"{self.kind} {name!r} is unavailable: {self.unavailable[name]}")
        if name not in self._components:
            raise self._unknown(name)
        return self._components[name]

    def match(self, pattern: str) -> list[str]:
        """The names a shell pattern such as `pgd_*` stands for; UsageError if none."""
        found = [name for name in self.names() if fnmatchcase(name, pattern)]
        if not found:
            raise self._unknown(pattern)
        return found

    def build(self, spec: Spec, defaults: Mapping[str, Any] | None = None) -> T:
        """The component a spec describes; see `specs.build` for how options are resolved."""
        component: T = build(self.get(spec.name), spec, defaults or {})
        return component

    def _unknown(self, name: str) -> UsageError:
        return unknown(self.kind, name, self._components, f"list {self.kind}s")

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(package.__path__, f"{self.package}."):
            if not module.ispkg:
                self._import(module.name, module.name.rpartition(".")[2])
        for entry in entry_points(group=f"reattack.{self.package}"):
            self._import(entry.module, entry.name)

    def _import(self, module: str, name: str) -> None:
        from benchmark.core.isolation import kept

        try:
            with kept():  # what one file sets is not for the others
                importlib.import_module(module)
        except Exception as error:  # any failure of one file must not hide the other files
            self.unavailable[name] = f"{module} failed to import: {type(error).__name__}: {error}"
