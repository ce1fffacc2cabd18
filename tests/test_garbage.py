"""The collector is off while a report is made or torch imported, and as it was afterwards."""

import gc
import subprocess
import sys

import pytest

from benchmark.cli.garbage import importing, uncollected


@pytest.fixture(autouse=True)
def collector():
    yield
    gc.enable()


@pytest.fixture
def no_torch(monkeypatch):
    """As in a process that has not imported it."""
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    gc.unfreeze()
    yield
    gc.unfreeze()


def is_looked_at(thing):
    return any(one is thing for one in gc.get_objects())


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_ends_as_it_was_even_after_an_error(on):
    (gc.enable if on else gc.disable)()
    seen = []

    @uncollected()
    def work():
        seen.append(gc.isenabled())
        raise KeyError

    with pytest.raises(KeyError):
        work()
    assert seen == [False]
    assert gc.isenabled() == on


def test_what_is_imported_with_torch_is_not_looked_at_again(no_torch):
    with importing():
        assert not gc.isenabled()
        imported = [[]]
    assert gc.isenabled()
    assert not is_looked_at(imported)


def test_a_process_that_has_torch_is_left_as_it_is(no_torch, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with importing():
        imported = [[]]
    assert is_looked_at(imported)


def test_an_import_that_fails_leaves_the_collector_as_it_was(no_torch):
    with pytest.raises(ImportError), importing():
        raise ImportError
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("words", [["list", "networks"], ["run", "--dry-run", "--shots", "0"]])
def test_commands_that_need_torch_import_it_for_good(words, tmp_path):
    code = (
        f"import gc, sys\nsys.argv[1:] = {words}\nfrom benchmark.cli import run as cli\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert gc.get_freeze_count() > 100_000, gc.get_freeze_count()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
