"""What makes a record stale: code, not comments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from attacks.gradient import PGDLinf
from benchmark.core.specs import dropped, options_of
from benchmark.identity.fingerprint import changed, identity, options_of_instance, versions
from benchmark.identity.import_graph import code_hash

CODE = '''
"""A module."""

from dataclasses import dataclass

RATE = 2


@dataclass
class Thing:
    """Its docstring."""

    size: float = 1.0
    """What size is."""

    def run(self, x):
        """Run it."""
        # a comment
        return x * self.size
'''
HARMLESS = [
    ("# a comment", "# another comment"),
    ("        # a comment\n", ""),
    ('"""A module."""', '"""A module, told at length."""'),
    ('"""Its docstring."""', '"""Other words."""'),
    ('    """What size is."""\n', ""),
    ('"""Run it."""', '"""Run."""'),
    ("\n\n\n", "\n\n"),
    ("return x * self.size", "return (x  *  self.size)"),
]
HARMFUL = [
    ("RATE = 2", "RATE = 3"),
    ("x * self.size", "x + self.size"),
    ("size: float = 1.0", "size: float = 2.0"),
    ("def run(self, x)", "def run(self, x=1)"),
    ("@dataclass\n", ""),
    ("return x * self.size", 'return "text"'),
]


@pytest.fixture
def hash_of(tmp_path):
    """The hash of a file with this text; always the same file, edited."""

    def hashed(text):
        (tmp_path / "module.py").write_text(text)
        return code_hash(tmp_path / "module.py")

    return hashed


@pytest.mark.parametrize(("old", "new"), HARMLESS)
def test_words_and_layout_change_nothing(hash_of, old, new):
    assert old in CODE
    assert hash_of(CODE) == hash_of(CODE.replace(old, new))


@pytest.mark.parametrize(("old", "new"), HARMFUL)
def test_code_changes_the_hash(hash_of, old, new):
    assert old in CODE
    assert hash_of(CODE) != hash_of(CODE.replace(old, new))


@dataclass(frozen=True)
class Newer(PGDLinf):
    version: ClassVar[int] = 2


@dataclass(frozen=True)
class Elsewhere(PGDLinf):
    origin: ClassVar[str] = "a library 2.0"


def test_a_component_is_its_name_its_version_and_what_it_reaches(monkeypatch):
    known = identity(PGDLinf(0.1))
    assert identity(PGDLinf(0.2, steps=3)) == known, "options are told apart elsewhere"
    monkeypatch.setattr(PGDLinf, "version", 2)
    assert identity(PGDLinf(0.1)) != known
    monkeypatch.undo()
    assert identity(PGDLinf(0.1)) == known
    assert identity(PGDLinf(0.1), "attacks.autoattack.fab") != known
    assert identity(Elsewhere(0.1)) != identity(Newer(0.1)) != known


@dataclass(frozen=True)
class Options:
    eps: float = 0.1
    names: frozenset = frozenset({"b", "a"})
    make: object = len
    nothing: None = None


def test_options_are_plain_and_ordered():
    assert options_of_instance(Options()) == {
        "eps": 0.1, "names": ["a", "b"], "make": "len", "nothing": None,
    }  # fmt: skip
    assert options_of_instance(PGDLinf(0.1, steps=3))["steps"] == 3


def test_what_an_option_was_stays_when_it_is_dropped():
    """In its place among the others: the hash of what was made with it is of this text."""

    @dataclass(frozen=True)
    class Fewer:
        eps: float = 0.1
        names: frozenset = dropped(frozenset({"b", "a"}))
        make: object = len
        nothing: None = None

    assert str(options_of_instance(Fewer())) == str(options_of_instance(Options()))
    assert list(options_of(Fewer)) == ["eps", "make", "nothing"]


def test_what_changed_is_named():
    old, new = {"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"}
    assert changed(old, new) == ["b", "c", "d"]
    assert changed(old, old) == []


def test_versions_of_what_results_depend_on():
    assert {"python", "torch", "numpy"} <= versions().keys()
