"""Why a record or a trained model may no longer be believed: short hashes, part by part."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmark.core.schema import short_hash
from benchmark.core.types import Attack, Defense
from benchmark.identity.import_graph import reachable, reachable_hash
from benchmark.identity.module_finder import OURS, ROOT

PACKAGES = ("torch", "torchvision", "torchattacks", "pyautoattack", "numpy")


OUTSIDE = ("benchmark.artifacts.",)
"""Training is part of a model's identity, not of the protocol's."""
PROTOCOL = ("benchmark.protocol.group", "benchmark.protocol.defender")


def identity(component: Attack | Defense, *roots: str) -> str:
    """Hash of which component it is: name, declared version, and those of all that it reaches.

    The code of a user's component counts as well, and of an adapter the version of its library.
    """
    return short_hash(
        component.name, component.version, getattr(component, "origin", ""),
        reachable_hash({*modules_of(component), *roots}),
    )  # fmt: skip


def modules_of(component: object) -> set[str]:
    """Where its classes are, and what it needs beyond our own."""
    names = {parent.__module__ for parent in type(component).__mro__} - {"builtins", "abc"}
    return names | set(component.modules if isinstance(component, Attack) else ())


def declared(modules: Iterable[str]) -> dict[str, str]:
    """The versions of the shared parts that modules and the protocol reach, for a record."""
    reach = reachable((*sorted(modules), *PROTOCOL), OUTSIDE)
    return {f"{name} version": str(number) for name, number in reach.versions.items()}


def options_of_instance(component: Any) -> dict[str, Any]:
    """The resolved options of a component, JSON-safe; without those `added` that are not used."""
    values = {
        field.name: value for field in fields(component)
        if (value := getattr(component, field.name)) != field.default
        or "added" not in field.metadata
    }  # fmt: skip
    plain = (bool, int, float, str, type(None))
    return {
        key: value if isinstance(value, plain) else
        sorted(value) if isinstance(value, frozenset) else
        getattr(value, "__qualname__", type(value).__name__)
        for key, value in values.items()
    }  # fmt: skip


def changed(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """The parts that differ, sorted: empty means the record is still true."""
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


@cache
def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages results depend on."""
    found = {"python": platform.python_version()}
    for package in ("reattack", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def code_version() -> str:
    """This code and what it runs on, in one line: the same here and in every worker, or refused."""
    digest = hashlib.sha256()
    for package in OURS:
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(ROOT).as_posix()).encode())
            digest.update(path.read_bytes())
    found = versions()
    return f"code {digest.hexdigest()[:12]}, torch {found['torch']}, Python {found['python']}"


@cache
def commit() -> str | None:
    """The commit this code is at, with `+` if the tree was changed; None outside a checkout."""
    here = Path(__file__).parent
    try:
        head = _git(here, "rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
