"""Two runs on one results folder: nothing twice, nothing lost, nobody waits for the dead."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from own_models import Team, fill_with
from tiny_runs import prepare, run, tiny_plan

from benchmark.artifacts import locks
from benchmark.artifacts.locks import exclusive, try_lock
from benchmark.execution import loading, queue

PLAN = {"attacks": "pgd_linf[steps=3],uniform_noise,fgsm", "shots": [0, 1]}
TEAMS = [Team("here"), Team("processes", 1)]
HOLDER = """
import sys
from pathlib import Path
from benchmark.artifacts.locks import try_lock
held = try_lock(Path(sys.argv[1]), "group", print)
print(held.lock is not None, flush=True)
input()
"""
RUNNER = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from own_models import Team, fill_with
if __name__ == "__main__":
    attacks = ",".join(f"pgd_linf[steps={steps}]" for steps in range(3, 7))
    plan = {"attacks": attacks, "shots": [0, 1], "limit": 40}
    run = fill_with(Team("here"), Path(sys.argv[1]), **plan)
    print(json.dumps([run.ended, run.log.trained, len(run.records), run.log.notes]))
"""


def heard():
    lines = []
    return lines, lines.append


# One claim.


def test_a_claim_is_held_by_one(tmp_path):
    lines, note = heard()
    first = try_lock(tmp_path, "group", note)
    assert try_lock(tmp_path, "group", note) is None
    assert try_lock(tmp_path, "other", note) is not None
    first.release()
    assert try_lock(tmp_path, "group", note) is not None
    assert not lines


def test_a_claim_ends_with_its_process(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with other:
        assert other.stdout.readline() == "True\n"
        assert try_lock(tmp_path, "group", print) is None
        other.send_signal(signal.SIGKILL)
    assert try_lock(tmp_path, "group", print) is not None


def test_names_cannot_leave_the_folder(tmp_path):
    held = try_lock(tmp_path / "in", "../../out[eps=8/255]", print)
    assert held is not None  # some versions of filelock take the file away when nobody holds it
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file.parent == tmp_path / "in" / ".locks"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    monkeypatch.setattr(locks, "_said", set())
    done = run(tiny_plan(shots=[0]), tmp_path)
    assert done.ended == {"done": 1}
    lines, note = done.log.notes, done.log.note
    for _ in range(3):
        assert try_lock(tmp_path, "group", note) is not None
    assert len(lines) == 1
    assert "cannot be locked" in lines[0]
    assert "one run at a time" in lines[0]


# The work of two runs.


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: team.executor)
def test_what_another_run_holds_comes_last_and_is_found_done(team, tmp_path, monkeypatch):
    first = fill_with(Team("here"), tmp_path, attacks="tifgsm", shots=[0])  # trains
    assert first.ended == {"skipped": 1}
    plan = tiny_plan(**PLAN)
    theirs = [cell for cell in plan.cells if cell.attack == "pgd_linf[steps=3]"]
    held = try_lock(tmp_path, loading.group_name(theirs[0]), print)
    ended = []

    def meanwhile(_seconds):
        if held.lock.is_locked:
            held.release()
            ended.append(prepare(plan, tmp_path).run(theirs))

    monkeypatch.setattr(queue.time, "sleep", meanwhile)
    ours = fill_with(team, tmp_path, **PLAN)
    assert ended == [{"done": 2}]
    assert ours.ended == {"cached": 2, "done": 4}
    last = [cell for cell, status, _ in ours.log.ended if status == "cached"]
    assert last == [str(cell) for cell in theirs] == [cell for cell, *_ in ours.log.ended[-2:]]
    (note,) = ours.log.notes
    assert note.startswith("another run on ")


def test_what_a_killed_run_held_is_done_by_the_next(tmp_path):
    plan = tiny_plan(**PLAN)
    name = loading.group_name(plan.cells[0])
    code = HOLDER.replace('"group"', repr(name))
    other = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with other:
        assert other.stdout.readline() == "True\n"
        other.kill()
    assert fill_with(Team("here"), tmp_path, **PLAN).ended == {"done": 6}


def test_one_run_trains_and_the_other_waits_for_it(tmp_path, monkeypatch):
    """The other run ends its training while this one waits at the door."""
    genuine, plan = locks._acquire, tiny_plan(shots=[0])

    def acquire(results, name, note, timeout):
        if timeout == 0 and "pgd_linf" not in name:
            return None
        if timeout < 0:
            monkeypatch.setattr(locks, "_acquire", genuine)
            prepare(plan, tmp_path).run([])
            prepare(plan, tmp_path).model(plan.cells[0])
        return genuine(results, name, note, timeout)

    monkeypatch.setattr(locks, "_acquire", acquire)
    ours = run(plan, tmp_path)
    assert ours.ended == {"done": 1}
    assert not ours.log.trained, "it was read, not trained again"
    (note,) = ours.log.notes
    assert note.endswith(": training standard[epochs=2]")
    assert note.startswith("waiting for another run on ")


def test_a_lock_is_given_back_when_training_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path, "model", print, "training"):
        _ = 1 / 0
    assert try_lock(tmp_path, "model", print) is not None


@pytest.mark.slow
def test_two_runs_at_once_compute_no_cell_twice(tmp_path):
    root = Path(__file__).parents[2]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", RUNNER, tmp_path],
            stdout=subprocess.PIPE, text=True, cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for _ in range(2)
    ]  # fmt: skip
    found = [json.loads(run.communicate()[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    ended = [ended for ended, *_ in found]
    assert sum(end.get("done", 0) for end in ended) == 8
    assert sum(end.get("cached", 0) for end in ended) == 8
    assert sum(len(trained) for _, trained, *_ in found) == 1
    assert [count for *_, count, _ in found] == [8, 8]
