"""Why a record or a trained model may no longer be believed: short hashes, part by part."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmark.core.records import short_hash

PACKAGES = ("torch", "torchvision", "torchattacks", "pyautoattack", "numpy")
OURS = ("benchmark", "baselines", "attacks", "reports")


@cache
def module_hash(name: str) -> str:
    """Hash of a module's code; comments, layout and docstrings do not count."""
    found = sys.modules.get(name) or importlib.util.find_spec(name)
    file = getattr(found, "__file__", None) or getattr(found, "origin", None)
    if file is None:
        return short_hash(name)
    tree = ast.parse(Path(file).read_text("utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return short_hash(ast.dump(tree))


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def source_hash(component: object, *modules: str) -> str:
    """Hash of the code a component is made of: the modules of its classes, and `modules`.

    An attack names in `code` what else it calls.
    """
    names = {parent.__module__ for parent in type(component).__mro__} - {"builtins", "abc"}
    names.update(modules, getattr(component, "code", ()))
    return short_hash(*(module_hash(name) for name in sorted(names)))


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
    root = Path(__file__).parents[1]
    for package in OURS:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(str(path.relative_to(root).as_posix()).encode())
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
