"""All the code that some modules can reach, for keys under which a wrong hit would be a lie.

`fingerprint.source_hash` names the modules a record depends on. Where nobody looks at the result
again, a list kept by hand is not enough: here imports are followed, through this project and
through every module that is not installed (a user's file and its neighbours). What is installed
counts by its version.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmark.core.records import short_hash
from benchmark.fingerprint import module_hash

OURS = {"attacks", "baselines", "benchmark", "reports"}
_INSTALLED = {
    Path(sysconfig.get_path(kind)).resolve()
    for kind in ("stdlib", "platstdlib", "purelib", "platlib")
}


def reachable_hash(modules: Iterable[str]) -> str:
    """Hash of the code of `modules` and of all they import, and of the versions at its border."""
    return _hash(tuple(sorted(set(modules))))


@cache
def _hash(modules: tuple[str, ...]) -> str:
    local, border = reachable(modules)
    versions = (f"{name} {_version(name)}" for name in sorted(border))
    return short_hash(*(f"{name} {module_hash(name)}" for name in sorted(local)), *versions)


def reachable(modules: Iterable[str]) -> tuple[set[str], set[str]]:
    """Modules of ours or of the user's that can be reached, and installed packages they import."""
    local: set[str] = set()
    border: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in local or name.partition(".")[0] in border:
            continue
        if is_local(name):
            local.add(name)
            waiting += _imports(name)
        else:
            border.add(name.partition(".")[0])
    return local, border


@cache
def is_local(name: str) -> bool:
    """Whether a module is ours, or somebody's that is not installed."""
    top = name.partition(".")[0]
    if top in OURS:
        return True
    file = _file(top)
    return file is not None and not (
        {"site-packages", "dist-packages"} & set(file.parts)
        or any(file.is_relative_to(place) for place in _INSTALLED)
    )


@cache
def _file(name: str) -> Path | None:
    """The Python file of a module; None for built-in ones and for what is no module."""
    found = sys.modules.get(name)
    file = getattr(found, "__file__", None)
    if found is None:
        try:
            file = getattr(importlib.util.find_spec(name), "origin", None)
        except (ImportError, ValueError):
            return None
    path = Path(file).resolve() if file else None
    return path if path and path.suffix == ".py" and path.is_file() else None


@cache
def _imports(name: str) -> tuple[str, ...]:
    """What a module imports, at its top or inside functions; its own package counts too."""
    file = _file(name)
    if file is None:
        return ()
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(file.read_text("utf-8"))
    return tuple(dict.fromkeys((*filter(None, [package]), *_imported(tree, package))))


def _imported(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield base
            for alias in node.names:  # `from package import module`
                if is_local(base) and _file(f"{base}.{alias.name}"):
                    yield f"{base}.{alias.name}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return str(getattr(sys.modules.get(package), "__version__", ""))
