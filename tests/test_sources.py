"""Which code a module can reach: through neighbours and packages, however it is imported."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from benchmark.sources import is_local, reachable, reachable_hash

FILES = {
    "mine.py": "import helper\n\ndef f():\n    from parts import one\n    return one, helper\n",
    "helper.py": "import torch\nRATE = 1\n",
    "parts/__init__.py": "",
    "parts/one.py": "from . import two\nfrom .two import SIZE\n",
    "parts/two.py": "import yaml_of_nobody\nSIZE = 1\n",
    "stranger.py": "RATE = 1\n",
}
REACHED = {"mine", "helper", "parts", "parts.one", "parts.two"}


def hash_in(folder, changed=None, text=""):
    """What a fresh process says of `mine` with these files; one of them changed."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text if name == changed else content)
    code = "from benchmark.sources import *; print(reachable_hash(['mine']))"
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder)!r}); {code}"]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout


def test_neighbours_are_reached_and_what_is_installed_is_the_border(tmp_path, monkeypatch):
    hash_in(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert reachable(["mine"]) == (REACHED, {"torch", "yaml_of_nobody"})


@pytest.mark.parametrize("name", ["helper.py", "parts/two.py", "mine.py", "parts/__init__.py"])
def test_a_change_anywhere_in_reach_changes_the_hash(tmp_path, name):
    before = hash_in(tmp_path)
    assert hash_in(tmp_path) == before
    assert hash_in(tmp_path, name, FILES[name] + "# a comment\n") == before
    assert hash_in(tmp_path, name, FILES[name] + "OTHER = 2\n") != before


def test_a_change_out_of_reach_does_not(tmp_path):
    assert hash_in(tmp_path) == hash_in(tmp_path, "stranger.py", "RATE = 2\n")


@pytest.mark.parametrize("package", ["torch", "numpy", "json", "sys", "builtins", "no_such_thing"])
def test_what_is_installed_is_not_local(package):
    assert not is_local(package)
    assert reachable([f"{package}.inner"])[0] == set()


def test_attacks_reach_what_they_are_made_of():
    local, border = reachable(["attacks.gradient"])
    assert {"attacks.search", "attacks.geometry", "benchmark.core.types", "attacks"} <= local
    assert "torch" in border
    assert not {name for name in local if name.startswith(("benchmark.runner", "reports"))}


def test_order_and_repetition_do_not_matter():
    names = ["attacks.gradient", "benchmark.evaluation", "attacks.gradient"]
    assert len({reachable_hash(order) for order in itertools.permutations(names)}) == 1
