"""What a Python file says: what it imports, the versions it declares, and a hash of its code."""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from benchmark.core.schema import short_hash


class Imported(NamedTuple):
    """One import: `from ..module import names` is level 2."""

    module: str
    names: tuple[str, ...] = ()
    level: int = 0


class Parsed(NamedTuple):
    """A file of Python."""

    imports: tuple[Imported, ...] = ()
    versions: tuple[tuple[str, int], ...] = ()
    """`VERSION = 2` of the module, named "", and `version: ClassVar[int] = 2` of its classes."""


@lru_cache(maxsize=2048)  # by content: a file that was edited since is another one
def parsed(content: bytes) -> Parsed:
    """What a file imports and declares; nothing if it is no Python."""
    try:
        tree = _tree(content)
        return Parsed(tuple(dict.fromkeys(_imports(tree))), tuple(_versions(tree)))
    except Exception:  # no syntax, no text, or nested too deeply
        return Parsed()


@lru_cache(maxsize=2048)
def code_of(content: bytes) -> str:
    """Hash of code without comments, layout and docstrings; of the bytes if it is no Python."""
    try:
        return short_hash(_code(_tree(content)))
    except Exception:
        return hashlib.sha256(content).hexdigest()[:16]


def _tree(content: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(content)


def _versions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    yield from (("", number) for name, number in _numbers(tree.body) if name == "VERSION")
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            numbers = _numbers(node.body)
            yield from ((node.name, number) for name, number in numbers if name == "version")


def _numbers(body: list[ast.stmt]) -> Iterator[tuple[str, int]]:
    """Names to which a body assigns whole numbers."""
    for node in body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and isinstance(node.value.value, int):
                yield target.id, node.value.value


def _code(tree: ast.AST) -> str:
    """Without comments, layout and docstrings."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _imports(tree: ast.AST) -> Iterator[Imported]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Imported(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Imported(node.module or "", names, node.level)
        elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
            said = node.args[0] if node.args else None
            if isinstance(said, ast.Constant) and isinstance(said.value, str):
                name = said.value.lstrip(".")
                yield Imported(name, (), len(said.value) - len(name))


def _called(function: ast.expr) -> str:
    return str(getattr(function, "attr", getattr(function, "id", "")))
