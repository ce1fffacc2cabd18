"""What a Python file says: a hash of its code, and what it imports."""

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


@lru_cache(maxsize=2048)  # by content: a file that was edited since is another one
def parsed(content: bytes) -> tuple[str, tuple[Imported, ...]]:
    """Hash of the code, and its imports; of the bytes, and none, if it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(content)
        found = tuple(dict.fromkeys(_imports(tree)))
        return short_hash(_code(tree)), found
    except Exception:  # no syntax, no text, or nested too deeply
        return hashlib.sha256(content).hexdigest()[:16], ()


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
