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

from benchmark.identity.import_graph import reachable_hash
from benchmark.identity.module_finder import OURS, ROOT

PACKAGES = ("torch", "torchvision", "torchattacks", "pyautoattack", "numpy")


def source_hash(component: object, *roots: str) -> str:
    """Hash of all code that the classes of a component, and the modules `roots`, can reach."""
    names = {parent.__module__ for parent in type(component).__mro__} - {"builtins", "abc"}
    return reachable_hash(names | set(roots))


def options_of_instance(component: Any) -> dict[str, Any]:
    """The resolved options of a component, JSON-safe."""
    values = {field.name: getattr(component, field.name) for field in fields(component)}
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
