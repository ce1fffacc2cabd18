"""Which code a module can reach: through neighbours and packages, however it is imported."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from attacks import ATTACKS
from benchmark.identity import import_graph
from benchmark.identity.import_graph import code_hash, follow, places_for, reachable, reachable_hash
from benchmark.identity.module_finder import owners
from benchmark.identity.source_parser import parsed

FILES = {
    "mine.py": "import helper\n\ndef f():\n    from parts import one\n    return one, helper\n",
    "helper.py": "import torch\nimport deep.inner.leaf\nRATE = 1\n",
    "parts/__init__.py": "",
    "parts/one.py": "from . import two\nfrom .two import SIZE\nfrom .stars import *\n",
    "parts/two.py": "import yaml_of_nobody\nSIZE = 1\n",
    "parts/stars/__init__.py": "__all__ = ['star']\n",
    "parts/stars/star.py": "from ..two import SIZE\nfrom ...mine import f\n",
    "deep/inner/leaf.py": "import importlib\nsaid = importlib.import_module('told')\n",
    "told.py": "TOLD = 1\n",
    "stranger.py": "RATE = 1\n",
}
REACHED = {
    "mine", "helper", "parts", "parts.one", "parts.two", "parts.stars", "parts.stars.star",
    "deep.inner.leaf", "told",
}  # fmt: skip


def written(folder, changed=None, content=b""):
    """The files in a folder; one of them changed."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if name == changed else text.encode())
    return folder


def reach_of(folder):
    return follow([("mine", folder / "mine.py")], places_for([folder]))


def test_neighbours_are_reached_and_nothing_is_imported(tmp_path):
    before = set(sys.modules)
    reach = reach_of(written(tmp_path))
    assert set(reach.files.values()) == REACHED
    assert reach.installed == {}
    assert not {name.partition(".")[0] for name in set(sys.modules) - before} & {
        "mine", "helper", "parts", "deep", "told"
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(FILES) - {"stranger.py"}))
def test_a_change_anywhere_in_reach_changes_the_hash(tmp_path, name):
    before = reach_of(written(tmp_path)).hash
    assert reach_of(written(tmp_path)).hash == before
    words = FILES[name].encode() + b"# a comment\n"
    assert reach_of(written(tmp_path, name, words)).hash == before
    assert reach_of(written(tmp_path, name, words + b"OTHER = 2\n")).hash != before


def test_a_change_out_of_reach_does_not(tmp_path):
    before = reach_of(written(tmp_path)).hash
    assert reach_of(written(tmp_path, "stranger.py", b"RATE = 2\n")).hash == before


def test_where_the_files_lie_says_nothing(tmp_path):
    folders = [written(tmp_path / name) for name in ("one", "two")]
    assert len({reach_of(folder).hash for folder in folders}) == 1


@pytest.mark.parametrize(
    "content",
    [b"def (", b"\xff\xfe\x00", b"x = '\xe9'\n", b"\x00", b"(" * 5000, b"-" * 200_000 + b"1"],
    ids=["syntax", "binary", "latin", "null", "brackets", "deep"],
)
def test_what_is_no_python_counts_by_its_bytes(tmp_path, content):
    hashes = {
        reach_of(written(tmp_path, "told.py", text)).hash
        for text in (content, content + b" ", FILES["told.py"].encode())
    }
    assert len(hashes) == 3


def test_a_file_that_cannot_be_read_counts_by_its_name(tmp_path, monkeypatch):
    before = reach_of(written(tmp_path))
    known = before.hash
    read = Path.read_bytes

    def refused(path):
        if path.name == "told.py":
            raise PermissionError(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    assert code_hash(tmp_path / "told.py") == ""
    assert reach_of(tmp_path).files == before.files
    assert reach_of(tmp_path).hash != known


def test_a_huge_tree_is_followed_so_far(tmp_path, monkeypatch):
    monkeypatch.setattr(import_graph, "MOST", 20)
    for number in range(200):
        (tmp_path / f"part{number}.py").write_text(f"import part{number + 1}\n")
    (tmp_path / "mine.py").write_text("import part0\n")
    assert 20 <= len(reach_of(tmp_path).files) <= 22


def installed(folder, version="1.0", record=True):
    """A package as `pip install --target` leaves it; importing its parts fails."""
    notes = folder / f"fake_vision-{version}.dist-info"
    (folder / "fakevision").mkdir(parents=True)
    notes.mkdir()
    (folder / "fakevision" / "__init__.py").write_text("from fakevision import _elsewhere\n")
    (folder / "fakevision" / "_elsewhere.py").write_text("raise AssertionError('not here')\n")
    (notes / "METADATA").write_text(f"Name: fake-vision\nVersion: {version}\n")
    names = "fakevision/__init__.py,,\nfakevision/_elsewhere.py,,\n"
    (notes / ("RECORD" if record else "top_level.txt")).write_text(
        names if record else "fakevision\n"
    )
    return folder


@pytest.mark.parametrize("record", [True, False])
def test_what_pip_installed_elsewhere_counts_by_its_version(tmp_path, monkeypatch, record):
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.py").write_text("import fakevision.inner\n")
    found = []
    for version in ("1.0", "2.0"):
        with monkeypatch.context() as patch:
            patch.syspath_prepend(installed(tmp_path / version, version, record))
            found.append(reach_of(home))
    assert [one.installed for one in found] == [{"fakevision": "1.0"}, {"fakevision": "2.0"}]
    assert set(found[0].files.values()) == {"mine"}
    assert found[0].hash != found[1].hash
    assert owners(tmp_path / "1.0") == {"fakevision": "1.0"}


def test_neighbours_of_what_pip_installed_are_nobodys_package(tmp_path):
    """A user's file may lie in the folder into which packages were installed."""
    installed(tmp_path)
    reach = reach_of(written(tmp_path, "told.py", b"import fakevision\n"))
    assert set(reach.files.values()) == REACHED
    assert reach.installed == {"fakevision": "1.0"}


@pytest.mark.parametrize("package", ["torch", "numpy", "json", "sys", "builtins", "no_such_thing"])
def test_what_is_installed_is_not_followed(package):
    assert reachable((package, f"{package}.inner")).files == {}


def test_distributions_are_found_by_their_modules(tmp_path):
    (tmp_path / "mine.py").write_text("import sklearn.datasets, PIL, torch, os\n")
    assert set(reach_of(tmp_path).installed) == {"sklearn", "PIL"}


PARTS = {"benchmark.core", "benchmark.data", "benchmark.adaptation", "benchmark.evaluation"}


@pytest.mark.parametrize(
    ("root", "parts"),
    [
        ("benchmark.protocol.group", PARTS | {"benchmark.protocol"}),
        ("baselines.meta_adv", PARTS | {"baselines.training", "baselines.meta"}),
        ("attacks.spatial", {"benchmark.core", "attacks.engine"}),
        ("attacks.libraries.torchattacks_gradient", {"benchmark.core", "attacks.libraries"}),
    ],
)
def test_shared_parts_are_reached(root, parts):
    found = reachable((root,))
    assert parts <= found.versions.keys()
    assert found.code == "", "of ours the versions count, not the code"
    assert not {name for name in found.files.values() if name.startswith("reports")}


def test_the_protocol_does_not_depend_on_how_models_are_trained():
    found = reachable(("benchmark.protocol.group",), ("benchmark.artifacts.",)).versions
    assert not {name for name in found if name.startswith("baselines")}


@pytest.mark.parametrize("name", ATTACKS.names())
def test_attacks_reach_what_they_are_made_of_and_no_front_end(name):
    module = ATTACKS.get(name).__module__
    found = reachable((module,))
    assert {module, "attacks", "benchmark.core.types"} <= set(found.files.values())
    assert found.versions["benchmark.core"] >= 1
    assert not {one for one in found.versions if one.startswith(("benchmark.protocol", "reports"))}


def test_imports_that_really_happen_are_reached():
    """The oracle: what a fresh process has loaded after importing a module."""
    code = "import sys, attacks.autoattack.autoattack; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.partition(".")[0] in import_graph.OURS}
    assert loaded <= set(reachable(("attacks.autoattack.autoattack",)).files.values())


def test_a_name_of_ours_that_is_gone_is_an_error():
    """A list of names somewhere would otherwise go on hashing nothing."""
    with pytest.raises(ModuleNotFoundError, match=r"attacks\.fab"):
        reachable(("attacks.fab",))


def test_versions_are_read_and_not_imported(tmp_path):
    text = "VERSION = 3\nclass A:\n    version: ClassVar[int] = 2\nclass B:\n    other = 1\n"
    assert parsed(text.encode()).versions == (("", 3), ("A", 2))


def test_order_and_repetition_do_not_matter():
    names = ["attacks.gradient", "benchmark.evaluation.verdicts", "attacks.gradient"]
    assert len({reachable_hash(order) for order in itertools.permutations(names)}) == 1


def test_the_time_it_takes_is_bounded_by_what_is_reached(tmp_path):
    """A folder of ten thousand strangers costs nothing."""
    for number in range(2000):
        os.close(os.open(tmp_path / f"stranger{number}.py", os.O_CREAT | os.O_WRONLY))
    (tmp_path / "mine.py").write_text("import stranger7\n")
    assert set(reach_of(tmp_path).files.values()) == {"mine", "stranger7"}
