"""Killed at random, or twice at once: what was finished stays, and the end is right.

REATTACK_KILLS=50 makes the loop of kills as long as that, and runs it with two processes and on a
Ray of its own as well.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmark.results import store
from benchmark.results.store import read_records

KILLS = int(os.environ.get("REATTACK_KILLS", "3"))
SEEDS = range(max(1, KILLS // 4))
ATTACKS = "fgsm,uniform_noise[draws=2],pgd_linf[steps=9],pgd_l2[steps=9],rotation_translation"
SPY = """
import os
from benchmark.execution import complete, execute

genuine, execute.WORTHWHILE = complete.run_group, 0

def run_group(group, inputs, meter=None):
    results = genuine(group, inputs, meter)
    for step in group.steps:
        wanted = [cell for cell in step if cell in group.todo]
        log = os.open(os.environ["BEGUN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, "".join(f"{cell}\\n" for cell in wanted).encode())
        os.close(log)
        yield from (next(results) for _ in wanted)

complete.run_group = run_group
"""
"""Writes down which cells were begun, in the parent and in workers alike."""

slow = pytest.mark.slow
posix = pytest.mark.skipif(os.name != "posix", reason="signals and process groups")


class Folder:
    """A results folder and the runs on it, each in a process group of its own."""

    def __init__(self, root: Path) -> None:
        self.root, self.results, self.log = root, root / "results", root / "begun"
        root.mkdir(exist_ok=True)
        (root / "sitecustomize.py").write_text(SPY)

    def start(self, jobs: int = 1, executor: str = "auto") -> subprocess.Popen:
        seeds = ",".join(map(str, SEEDS))
        words = (
            f"run --defense standard[epochs=1] --attacks {ATTACKS} --shots 0,1,2 --episodes 1 "
            f"--limit 20 --seeds {seeds} --jobs {jobs} --executor {executor} --threads 1 --quiet "
            "--results"
        )
        path = os.pathsep.join([str(self.root), os.getcwd(), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [sys.executable, "-m", "benchmark", *words.split(), self.results],
            env={**os.environ, "PYTHONPATH": path, "BEGUN": str(self.log)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def end(self, jobs: int = 1, executor: str = "auto") -> None:
        """Let a run come to its end: silent, exit code 0."""
        run = self.start(jobs, executor)
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

    def is_worked_on(self) -> bool:
        """Whether a process of a run is left: Ray's workers live on for a moment, and finish."""
        mark = f"BEGUN={self.log}\0".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if mark in environment.read_bytes():
                    return True
        return False

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
    while folder.is_worked_on():
        time.sleep(0.02)
    return run.returncode == -signal.SIGKILL


@slow
@posix
@pytest.mark.parametrize(("jobs", "executor"), [(1, "auto"), (2, "auto"), (2, "ray")])
def test_kills_at_random_lose_at_most_the_cells_in_flight(tmp_path, undisturbed, jobs, executor):
    """A worker does not wait until the driver has written a cell: there, it is a group of cells."""
    if jobs > 1 and "REATTACK_KILLS" not in os.environ:
        pytest.skip("only where REATTACK_KILLS is set")
    if executor == "ray":
        pytest.importorskip("ray", reason="needs the extra `ray`")
    dice, folder = random.Random(jobs), Folder(tmp_path)
    killed = lost = busy = 0
    for _ in range(KILLS):
        before, begun_before = folder.contents(), len(folder.begun())
        was = wait_and_kill(folder.start(jobs, executor), folder, dice)
        after, begun = folder.contents(), folder.begun()[begun_before:]
        assert {path: after.get(path) for path in before} == before, "finished is finished"
        now = {str(made.cell) for made in read_records(folder.results).records}
        unfinished = set(begun) - now
        assert was or not unfinished
        assert len(unfinished) <= 2 * jobs, "one and two shots adapt together"
        assert len({group for group, _, _ in (cell.rpartition("/") for cell in unfinished)}) <= jobs
        assert len(begun) == len(set(begun)) == len(after) - len(before) + len(unfinished)
        killed, lost, busy = killed + was, lost + len(unfinished), busy + bool(begun)
    litter = folder.litter()
    print(
        f"{executor}, jobs {jobs}: {killed} kills, {busy} in mid-work, {lost} cells lost, "
        f"{len(folder.contents())} records before the last run, {len(litter)} half files"
    )
    assert busy > 0
    folder.end(jobs, executor)
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
