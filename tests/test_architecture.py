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


MAY_USE = {
    # benchmark: a folder may use those in its line, and nothing else of this project
    "benchmark.core": "",
    "benchmark.identity": "core",
    "benchmark.results": "core",
    "benchmark.data": "core identity results",
    "benchmark.adaptation": "core results",
    "benchmark.evaluation": "core results",
    "benchmark.plan": "core identity results data adaptation attacks baselines",
    "benchmark.artifacts": "core identity results data adaptation evaluation attacks baselines",
    "benchmark.contracts": "core identity results data adaptation evaluation attacks baselines",
    "benchmark.protocol": "core identity results data adaptation evaluation plan artifacts",
    "benchmark.audit": "core results data adaptation evaluation artifacts protocol attacks "
    "reports.statistics",
    "benchmark.execution": "core identity results data evaluation plan artifacts protocol "
    "attacks baselines",
    "benchmark.cli": "core identity results data evaluation plan artifacts protocol contracts "
    "audit execution attacks baselines reports",
    "benchmark.api": "core cli reports",
    "benchmark.pytest_plugin": "core cli reports",
    "benchmark.__main__": "cli",
    "benchmark.examples": "",
    "attacks": "core engine autoattack libraries",
    "attacks.engine": "core",
    "attacks.autoattack": "core attacks engine",
    "attacks.corruption": "core attacks engine",
    "attacks.decision": "core attacks engine",
    "attacks.libraries": "core attacks engine",
    "attacks.patch": "core attacks engine autoattack",
    "attacks.threats": "core engine",
    "baselines": "core identity results data adaptation evaluation attacks training meta networks",
    "baselines.networks": "core identity data adaptation",
    "baselines.training": "core results data adaptation evaluation attacks baselines networks",
    "baselines.meta": "core results data adaptation evaluation attacks training",
    "reports.archive": "core results",
    "reports.statistics": "",
    "reports.tidy": "core results archive statistics",
    "reports.audit": "core results tidy",
    "reports.leaderboard": "core results archive statistics tidy",
    "reports.gate": "core results statistics tidy",
    "reports.plots": "core results tidy leaderboard",
    "reports.summary": "core results statistics tidy leaderboard plots",
    "reports.comparison": "core results archive statistics tidy plots",
}
"""The way of the data: what each folder may import."""
LAYERS = {"benchmark": 8, "reports": 5, "baselines": 4, "attacks": 3}
ARROWS = {"benchmark": 64, "reports": 18, "baselines": 7, "attacks": 8}
"""Imports between the folders and modules at the top of a package, at most; and one more for each
file there that registers an attack or a defense, since adding one touches one file."""
MODULES = 13
"""In one folder, at most; in `attacks` and `baselines` those that register one are not counted."""


def folder_of(module):
    """`benchmark.core` of `benchmark.core.types`; `attacks` of `attacks.gradient`."""
    parts = module.split(".")
    inside = (ROOT / parts[0] / parts[1]).is_dir() if len(parts) > 1 else False
    alone = parts[0] == "benchmark" and len(parts) > 1
    return ".".join(parts[:2]) if inside or alone else parts[0]


def top_of(module):
    """The folder or module at the top of its package that a module is, or is in."""
    return ".".join(module.split(".")[:2])


def allowed(folder):
    """The folders whose modules one may import, its own included."""
    own = folder.split(".")[0]
    known = {own, "attacks", "baselines", "reports"}
    for name in MAY_USE[folder].split():
        places = [f"{package}.{name}" for package in (own, "benchmark") if name not in known]
        yield next((place for place in places if place in MAY_USE), name)
    yield folder


def inside(folder, place, own):
    """Whether a folder is one that a word of the table stands for: of other packages, all are."""
    return folder == place or (place != own and folder.startswith(f"{place}."))


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_one_way(path):
    module = module_of(path)
    if module in PACKAGES:
        return
    for name in imports(path):
        if name.split(".")[0] in PACKAGES and folder_of(name) != "benchmark":
            may = list(allowed(folder_of(module)))
            own, folder = module.split(".")[0], folder_of(name)
            assert any(inside(folder, place, own) for place in may), f"{module} imports {name}"


def tops(package):
    """What is at the top of a package, each with what of that it imports."""
    found = {top_of(module_of(path)): set() for path in FILES if module_of(path) != package}
    found = {top: others for top, others in found.items() if top.split(".")[0] == package}
    for path in FILES:
        top = top_of(module_of(path))
        others = {top_of(name) for name in imports(path) if is_module(name)}
        if top in found:
            found[top] |= {other for other in others & found.keys() if other != top}
    return found


def layers_of(graph):
    """How many floors a graph has, the longest way down; AssertionError for a circle."""
    depth = {}

    def visit(top, way):
        assert top not in way, f"circle: {' -> '.join([*way, top])}"
        if top not in depth:
            depth[top] = 1 + max((visit(other, [*way, top]) for other in graph[top]), default=0)
        return depth[top]

    return max(visit(top, []) for top in graph)


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_are_few_and_in_few_layers(package, capsys):
    graph = tops(package)
    layers, arrows = layers_of(graph), sum(map(len, graph.values()))
    with capsys.disabled():
        print(f"\n{package}: {len(graph)} at the top, {layers} layers, {arrows} imports, 0 cycles")
    assert layers <= LAYERS[package]
    assert arrows <= ARROWS[package] + sum(map(registers, (ROOT / package).glob("*.py")))


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=str)
def test_a_folder_holds_few_modules(folder):
    counted = [
        path for path in folder.glob("*.py") if path.name != "__init__.py" and not registers(path)
    ]
    assert len(counted) <= MODULES, [path.name for path in counted]


def registers(path):
    """Whether a file holds an attack or a defense."""
    return path.relative_to(ROOT).parts[0] in ("attacks", "baselines") and any(
        word in path.read_text("utf-8") for word in ("S.register", "S.refuse", "offer(")
    )


def test_the_table_has_every_folder():
    found = {folder_of(module_of(path)) for path in FILES} - {"benchmark", "reports"}
    assert found == MAY_USE.keys()


def test_importing_benchmark_imports_nothing():
    """What it offers is imported when it is asked for."""
    program = "import benchmark, sys; print({*sys.modules} & {'torch', 'numpy', 'pandas'})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_no_module_imports_itself():
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
        ("benchmark.cli.app", "torch pandas matplotlib torchattacks numpy scipy sklearn"),
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
    "path", [path for path in FILES if path.relative_to(ROOT).parts[0] == "reports"], ids=module_of
)
def test_reports_never_touch_a_model(path):
    assert not {name.split(".")[0] for name in imports(path)} & {"torch", "torchvision"}
    assert not WITHOUT_TORCH & set(imports(path))


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_are_short(path):
    assert len(path.read_text("utf-8").splitlines()) <= 300
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno and path.name != "run.py":
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
