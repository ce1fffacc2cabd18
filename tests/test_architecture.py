"""The way of the data, checked on the source: who imports whom, and how long things are."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("benchmark", "attacks", "baselines", "reports")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
WITHOUT_TORCH = {"benchmark.core.types", "benchmark.core.seeding"}
"""What of benchmark.core imports torch, and hence reports must do without."""


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def tree_of(path):
    return ast.parse(path.read_text("utf-8"))


def imports(path, nested=True):
    """Modules a file imports; `nested` counts imports inside functions too."""
    tree = tree_of(path)
    nodes = ast.walk(tree) if nested else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if is_module(name) else node.module


def is_module(name):
    if name.split(".")[0] not in PACKAGES:
        return False
    path = ROOT / Path(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def layer(module):
    """benchmark.core, or the package."""
    return "benchmark.core" if module.startswith("benchmark.core") else module.split(".")[0]


MAY_USE = {
    "benchmark.core": set(),
    "attacks": {"benchmark.core"},
    "baselines": {"benchmark.core", "attacks", "benchmark"},
    "reports": {"benchmark.core"},
    "benchmark": {"benchmark.core", "attacks", "baselines", "reports"},
}
SHARED = {"benchmark.data.splits", "benchmark.evaluation.verdicts"}
"""What baselines may use of benchmark: the data they train on, and how attacks are judged."""
FRONT = {
    "board_commands", "cli", "session", "listing", "tuning", "check_command", "compare_command",
    "gating", "pytest_plugin",
}  # fmt: skip
"""The modules of benchmark that talk to the user: the only ones that may show reports."""


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_one_way(path):
    module = module_of(path)
    for name in imports(path):
        if name.split(".")[0] not in PACKAGES or layer(name) == layer(module):
            continue
        assert layer(name) in MAY_USE[layer(module)], f"{module} imports {name}"
        if layer(module) == "baselines" and layer(name) == "benchmark":
            assert name in SHARED, f"{module} imports {name}"
        if layer(name) == "reports":
            assert module.split(".")[-1] in FRONT, f"{module} imports {name}"


ORDER = [
    "data", "cache", "evaluation", "plan", "place", "models", "crafting", "lab", "pictures",
    "bookkeeping", "showing", "integrity", "runner", "work", "sharing", "processes", "on_ray",
    "executors", "session", "tuning", "tune_command", "gating", "check_command", "cli",
]  # fmt: skip
"""Inside benchmark: a module may use those before it, never those after it."""


@pytest.mark.parametrize("name", ORDER)
def test_benchmark_itself_goes_one_way(name):
    later = {f"benchmark.{other}" for other in ORDER[ORDER.index(name) + 1 :]}
    assert not later & set(imports(ROOT / "benchmark" / f"{name}.py"))


def test_importing_benchmark_imports_nothing():
    tree = tree_of(ROOT / "benchmark" / "__init__.py")
    assert [type(node) for node in tree.body] == [ast.Expr], "a docstring and nothing else"


def test_there_is_no_circle():
    graph = {module_of(path): set(imports(path, nested=False)) for path in FILES}
    done, open_ = set(), []

    def visit(module):
        assert module not in open_, f"circle: {' -> '.join([*open_, module])}"
        if module in graph and module not in done:
            open_.append(module)
            for other in sorted(graph[module]):
                visit(other)
            done.add(open_.pop())

    for module in graph:
        visit(module)


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("benchmark.cli", "torch pandas matplotlib torchattacks numpy scipy sklearn"),
        ("benchmark.results.records", "torch pandas"),
        ("benchmark.results.store", "torch pandas"),
        ("reports.tidy.frame", "torch matplotlib"),
        ("reports.summary.console", "torch matplotlib"),
        ("benchmark.plan.matrix", "torchattacks pyautoattack pandas matplotlib"),
    ],
)
def test_heavy_packages_wait_until_needed(module, absent):
    code = f"import sys, {module}; print(*set('{absent}'.split()) & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parts[-2] == "reports"], ids=module_of
)
def test_reports_never_touch_a_model(path):
    assert not {name.split(".")[0] for name in imports(path)} & {"torch", "torchvision"}
    assert not WITHOUT_TORCH & set(imports(path))


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_are_short(path):
    assert len(path.read_text("utf-8").splitlines()) <= 300
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno and path.name != "cli.py":
            assert node.end_lineno - node.lineno < 60, f"{node.name} is too long"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_no_relatives_no_stars_no_keyword_sacks(path):
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom):
            assert node.names[0].name != "*"
        if isinstance(node, ast.FunctionDef):
            assert node.args.kwarg is None, f"{node.name} takes **{node.args.kwarg.arg}"
        for field in ("id", "arg", "attr", "name"):
            name = getattr(node, field, None)
            assert not isinstance(name, str) or name.isascii(), f"Greek identifier {name}"


def test_modules_here_are_the_modules_imported():
    """The tests look at the source that runs."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert Path(spec.origin).parent == ROOT / package
