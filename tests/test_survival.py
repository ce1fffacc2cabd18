"""Killed, full, read-only, half-written, twice at once: what was finished stays, the end is right.

REATTACK_KILLS=50 makes the loop of kills as long as that, and runs it with two processes as well.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from benchmark.core import store
from benchmark.core.store import read_records, record_path

KILLS = int(os.environ.get("REATTACK_KILLS", "3"))
SEEDS = range(max(1, KILLS // 4))
ATTACKS = "fgsm,uniform_noise[draws=2],pgd_linf[steps=9],pgd_l2[steps=9],rotation_translation"
SPY = """
import os
from benchmark import executors, runner

genuine, executors.WORTHWHILE = runner.run_cell, 0

def run_cell(lab, cell, meter):
    log = os.open(os.environ["BEGUN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{cell}\\n".encode())
    os.close(log)
    return genuine(lab, cell, meter)

runner.run_cell = run_cell
"""
"""Writes down which cells were begun, in the parent and in workers alike."""

SMALL = "180k"
"""A disk for a model of 152 kB and some records of 4 kB."""

slow = pytest.mark.slow
posix = pytest.mark.skipif(os.name != "posix", reason="signals and process groups")


class Folder:
    """A results folder and the runs on it, each in a process group of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.results, self.log = root, root / "results", root / "begun"
        root.mkdir(exist_ok=True)
        (root / "sitecustomize.py").write_text(SPY)

    def start(self, jobs: int = 1) -> subprocess.Popen:
        seeds = ",".join(map(str, SEEDS))
        words = (
            f"run --defense standard[epochs=1] --attacks {ATTACKS} --shots 0,1,2 --episodes 1 "
            f"--limit 20 --seeds {seeds} --jobs {jobs} --threads 1 --quiet --results"
        )
        path = os.pathsep.join([str(self.root), os.getcwd(), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-m", "benchmark", *words.split(), self.results],
            env={**os.environ, "PYTHONPATH": path, "BEGUN": str(self.log)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def end(self, jobs: int = 1) -> None:
        """Let a run come to its end: silent, exit code 0."""
        run = self.start(jobs)
        assert (*run.communicate(), run.returncode) == ("", "", 0)

    def begun(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def contents(self) -> dict[Path, bytes]:
        """Every record file; all of them are valid."""
        assert read_records(self.results).problems == []
        return {path: path.read_bytes() for path in (self.results / "records").rglob("*.json")}

    def recorded(self) -> dict[str, object]:
        """What each record claims, by cell."""
        found = read_records(self.results).records
        return {str(made.cell): (made.status, made.outcome, made.fingerprint) for made in found}

    def litter(self) -> list[Path]:
        return [path for path in self.results.rglob("*") if store.is_temporary(path.name)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("undisturbed"))
    folder.end()
    recorded = folder.recorded()
    assert len(recorded) == 15 * len(SEEDS)
    assert sorted(folder.begun()) == sorted(recorded)
    return recorded


def wait_and_kill(run: subprocess.Popen, folder: Folder, dice: random.Random) -> bool:
    """Kill the whole group at a random moment; False if the run had ended before."""
    if dice.random() < 0.2:
        wait = dice.uniform(0, 5)  # anywhere, mostly while it starts
    else:
        enough = len(folder.begun()) + dice.randint(1, 6)  # 1: while it trains
        while len(folder.begun()) < enough and run.poll() is None:
            time.sleep(0.001)
        wait = dice.uniform(0, 0.1)
    try:
        run.wait(wait)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    return run.returncode == -signal.SIGKILL


@slow
@posix
@pytest.mark.parametrize("jobs", [1, 2])
def test_kills_at_random_lose_at_most_the_cells_in_flight(tmp_path, undisturbed, jobs):
    """A worker does not wait until the driver has written a cell: there, it is a group of cells."""
    if jobs > 1 and "REATTACK_KILLS" not in os.environ:
        pytest.skip("only where REATTACK_KILLS is set")
    dice, folder = random.Random(jobs), Folder(tmp_path)
    killed = lost = busy = 0
    for _ in range(KILLS):
        before, begun_before = folder.contents(), len(folder.begun())
        was = wait_and_kill(folder.start(jobs), folder, dice)
        after, begun = folder.contents(), folder.begun()[begun_before:]
        assert {path: after.get(path) for path in before} == before, "finished is finished"
        now = {str(made.cell) for made in read_records(folder.results).records}
        unfinished = set(begun) - now
        assert was or not unfinished
        assert len(unfinished) <= 1 or jobs > 1
        assert len({group for group, _, _ in (cell.rpartition("/") for cell in unfinished)}) <= jobs
        assert len(begun) == len(set(begun)) == len(after) - len(before) + len(unfinished)
        killed, lost, busy = killed + was, lost + len(unfinished), busy + bool(begun)
    litter = folder.litter()
    print(
        f"jobs {jobs}: {killed} kills, {busy} in mid-work, {lost} cells lost in flight, "
        f"{len(folder.contents())} records before the last run, {len(litter)} half files"
    )
    assert busy > 0
    folder.end(jobs)
    assert folder.recorded() == undisturbed
    assert len(folder.begun()) == len(undisturbed) + lost, "nothing ran twice but what was lost"


@slow
@posix
def test_two_runs_at_once_end_as_one(tmp_path, undisturbed):
    folder = Folder(tmp_path)
    runs = [folder.start() for _ in range(2)]
    for run in runs:
        out, err = run.communicate()
        assert (out, run.returncode) == ("", 0), err
    folder.contents()
    assert folder.recorded() == undisturbed
    assert not folder.litter()


# In this process: a full disk, a folder that becomes read-only, half-written files.


@pytest.fixture
def matrix(run, tmp_path):
    """Runs four cells; some seconds."""
    attacks = "fgsm,uniform_noise,pgd_linf[steps=2],pgd_l2[steps=2]"

    def call(*words, results=tmp_path / "results"):
        return run(*words, attacks=attacks, results=results)

    return call


def spoiled(genuine, error, after):
    """`genuine` for the first calls, then this error, for ever."""
    calls = iter(range(after))

    def call(*args, **kwargs):
        if next(calls, None) is None:
            raise OSError(error, os.strerror(error))
        return genuine(*args, **kwargs)

    return call


def claims(results):
    return {str(made.cell): (made.status, made.outcome) for made in read_records(results).records}


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize(
    ("where", "what", "error"),
    [
        (os, "fsync", errno.ENOSPC),
        (os, "fsync", errno.EDQUOT),
        (tempfile, "mkstemp", errno.EROFS),
        (Path, "replace", errno.EIO),
    ],
)
def test_a_folder_that_fails_midway_keeps_what_is_done(
    matrix, tmp_path, monkeypatch, where, what, error, after
):
    """The writes are: the model, then examples and a record for each cell.

    Only examples are not waited for, and only they may be missing: that is said in a line.
    """
    each = 1 if what == "fsync" else 2
    results = tmp_path / "results"
    with monkeypatch.context() as patch:
        patch.setattr(where, what, spoiled(getattr(where, what), error, after))
        ended = matrix("--quiet")
    *notes, line = ended.err.splitlines()
    ended._replace(err=line).refused("cannot write", os.strerror(error), "free space: choose")
    done = claims(results)
    assert len(done) == max(0, (after - 1) // each)
    if each == 2 and after:
        (note,) = notes
        assert note.startswith(f"cannot write the cache {results / 'cache'} (")
    else:
        assert not notes
    assert not read_records(results).problems
    assert not list(results.rglob("*.tmp"))
    kept = {path: path.read_bytes() for path in results.rglob("*.json")}
    assert matrix("--quiet").code == 0
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(claims(results)) == 4
    assert done.items() <= claims(results).items()


@slow
def test_workers_that_cannot_write_the_cache_say_so_once(matrix, tmp_path):
    (tmp_path / "file").write_text("no folder")
    two = ["--executor", "processes", "--jobs", 2]
    ended = matrix("--quiet", "--cache", tmp_path / "file", *two)
    assert ended.code == 0
    assert ended.line.startswith(f"cannot write the cache {tmp_path / 'file'} (")
    assert matrix("--quiet", "--no-cache", results=tmp_path / "other").code == 0
    assert claims(tmp_path / "results") == claims(tmp_path / "other")
    assert len(claims(tmp_path / "other")) == 4


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_record_half_written_runs_again_and_costs_one_line(run, tmp_path, share):
    assert run("--quiet").code == 0
    results = tmp_path / "results"
    (made,) = read_records(results).records
    path = record_path(results, made.cell)
    os.truncate(path, int(path.stat().st_size * share))
    ended = run("--json", "--quiet")
    assert ended.code == 0
    assert ended.line.startswith(f"{path}: not a readable record (")
    assert [cell["status"] for cell in json.loads(ended.out)["cells"]] == ["done"]
    (again,) = read_records(results).records
    assert (again.outcome, again.fingerprint) == (made.outcome, made.fingerprint)


def test_what_a_kill_left_is_harmless_and_goes_when_it_is_old(run, tmp_path):
    assert run("--quiet").code == 0
    results = tmp_path / "results"
    (path,) = (results / "records").rglob("*.json")
    left = [folder / f".reattack-{age}.tmp" for age in ("old", "new")
            for folder in (path.parent, results / "models", results / "cache")]  # fmt: skip
    for file in left:
        file.write_bytes(path.read_bytes()[:99])
        if "old" in file.name:
            os.utime(file, (0, 0))
    before = claims(results)
    assert run("--quiet") == (0, "", "")
    assert claims(results) == before
    assert [file.exists() for file in left] == [False] * 3 + [True] * 3


# A real full disk, where this system lets us have one.


def in_a_small_disk(folder: Path, size: str, script: str) -> subprocess.CompletedProcess:
    """A script in `folder`, with `disk` there so small; skips where nobody may mount."""
    (folder / "disk").mkdir()
    flags = "-m" if os.geteuid() == 0 else "-rm"
    mount = f"cd {folder} && mount -t tmpfs -o size={size} none disk"
    for words in (mount, f"{mount} && {script}"):
        ended = subprocess.run(
            ["unshare", flags, "sh", "-c", words], capture_output=True, text=True, check=False
        )
        if words == mount and ended.returncode:
            pytest.skip(f"may not mount: {ended.stderr}")
    return ended


@slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_disk_that_is_really_full(tmp_path):
    """Room for the model and about half of the records; the examples are kept elsewhere."""
    words = f"--attacks '{ATTACKS}' --shots 0,1,2 --episodes 1 --limit 20 --jobs 1 --quiet"
    run = f"{sys.executable} -m benchmark run --defense 'standard[epochs=1]' {words}"
    where = f"PYTHONPATH={os.getcwd()} {run} --cache cache --results disk"
    ended = in_a_small_disk(tmp_path, SMALL, f"{where}; code=$?; cp -r disk kept; exit $code")
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: cannot write disk/records/")
    assert line.endswith("No space left on device; expected a writable folder with free space: "
                         "choose another")  # fmt: skip
    kept = read_records(tmp_path / "kept")
    assert kept.problems == []
    assert 0 < len(kept.records) < 15
    assert not list((tmp_path / "kept").rglob("*.tmp"))
