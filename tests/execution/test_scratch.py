"""The folder for sockets: gone after its process, swept after a kill, kept while it is in use."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from benchmark.core.errors import UsageError
from benchmark.execution import scratch as scratch_module
from benchmark.execution.scratch import LONGEST, scratch, sweep

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets that are files")
RUN = (
    "run --defense standard[epochs=1] --attacks fgsm,fgm_l2 --shots 0 --limit 20 "
    "--executor processes --jobs 2 --quiet --results"
)
HOLD = "import sys; from benchmark.execution.scratch import scratch; from pathlib import Path\n" + (
    "with scratch(9) as folder:\n (folder / 'socket').touch(); print(folder, flush=True)\n"
    " sys.stdin.read()"
)


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_there_while_it_is_used_and_gone_afterwards(temporary):
    with scratch(9) as folder:
        (folder / "socket").touch()
        assert folder.parent == temporary
        sweep(temporary)
        assert (folder / "socket").exists(), "somebody holds it"
    assert not list(temporary.iterdir())


def test_a_killed_process_leaves_it_to_the_next_one(temporary):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temporary)}, cwd=Path(scratch_module.__file__).parents[2],
    )  # fmt: skip
    folder = Path(holder.stdout.readline().strip())
    with scratch(9):
        assert folder.is_dir(), "it lives"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert (folder / "socket").exists()
    (temporary / "reattack.of-nobody").write_text("a file of that name")
    with scratch(9) as own:
        assert sorted(temporary.iterdir()) == sorted([own, temporary / "reattack.of-nobody"])


def test_results_of_other_commands_are_left_alone(temporary):
    """Those of `check`, `verify` and `evaluate` lie beside it, and were swept in the midst."""
    results = Path(tempfile.mkdtemp(prefix="reattack-"))
    with scratch(9):
        assert results.is_dir()


def test_a_forked_process_does_not_take_it_along(temporary):
    """Finalizers are dropped in it, and what they hold ends."""
    with scratch(9) as folder:
        child = multiprocessing.get_context("fork").Process(target=_leave)
        child.start()
        child.join()
        assert folder.is_dir()


def _leave():
    raise SystemExit(0)


def test_a_folder_too_long_for_sockets_is_not_used(tmp_path, monkeypatch):
    long = tmp_path / ("x" * LONGEST)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with scratch(40) as folder:
        assert not folder.is_relative_to(long)
        assert len(os.fsencode(folder)) + 41 <= LONGEST
    monkeypatch.setattr(scratch_module, "OTHERS", ())
    with pytest.raises(UsageError, match=r"too long for sockets, .* set TMPDIR"), scratch(40):
        pass


@pytest.mark.slow
def test_a_run_with_a_long_temporary_folder_leaves_nothing(tmp_path):
    long = tmp_path / "a" / ("x" * 120)
    long.mkdir(parents=True)
    root = Path(scratch_module.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *RUN.split(), tmp_path / "results"], cwd=root,
        env={**os.environ, "TMPDIR": str(long)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert len(list((tmp_path / "results").rglob("*.json"))) == 2
    assert not [path for path in long.iterdir() if not path.name.startswith("torchinductor")]
