"""A cell over its time or memory is failed, in every executor, and the run goes on."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from own_models import FINE, SIX, Limits, Team, fill_with, own_model

from benchmark.artifacts.settings import RunSettings
from benchmark.core.errors import UsageError
from benchmark.execution import limits
from benchmark.execution.limits import check_limits, limited

TEAMS = [Team("here"), Team("processes", 1)]
ENDLESS = "while {when}: pass"


# The guard itself: in a process that it may end.

GUARDED = """
import re, sys, time
from benchmark.artifacts.settings import RunSettings
from benchmark.execution.limits import limited, resident

settings = RunSettings(cell_time={seconds}, cell_memory={gigabytes})
with limited(settings, lambda why: print(why, flush=True)):
    print("begun", flush=True)
    {body}
time.sleep(0.2)  # nothing arrives late
print("ended")
"""


def guarded(body, seconds=None, gigabytes=None):
    """What a process says that does `body` within limits, and its exit code."""
    program = GUARDED.format(body=body, seconds=seconds, gigabytes=gigabytes)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False
    )
    return done.stdout.splitlines(), done.returncode


@pytest.mark.parametrize("body", ["while True: pass", "time.sleep(1000)"])
def test_what_takes_too_long_ends_its_process_and_says_why(body):
    assert guarded(body, seconds=0.2) == (["begun", "over its time limit of 0.2 s"], 1)


def test_where_no_python_code_runs_the_process_ends_without_a_word():
    said, code = guarded("re.match('(a|a)*b', 40 * 'a')", seconds=0.2)
    assert (said, code) == (["begun"], 1)


def test_code_that_catches_everything_cannot_go_on():
    body = "exec('try:\\n while True: pass\\nexcept BaseException: print(1)')"
    assert guarded(body, seconds=0.2) == (["begun", "over its time limit of 0.2 s"], 1)


def test_what_is_in_time_is_left_alone():
    """And a debugger, or pyautoattack, may trace what comes after."""
    body = "pass\nsys.settrace(lambda *_: None)\n(lambda: None)()"
    assert guarded(body, 30.0, "resident() + 5") == (["begun", "ended"], 0)


def test_an_error_of_the_cell_stays_what_it_is():
    with pytest.raises(ZeroDivisionError), limited(RunSettings(cell_time=30.0), print):
        _ = 1 / 0


@pytest.mark.skipif(not limits.STATM.is_file(), reason="resident memory is read on Linux")
def test_what_takes_too_much_memory_ends_its_process():
    body = "held = [(time.sleep(0.01), bytearray(b'1' * 5_000_000)) for _ in range(1000)]"
    said, code = guarded(body, gigabytes="resident() + 0.1")
    assert code == 1
    assert said[0] == "begun"
    assert re.fullmatch(r"over its memory limit of .* GB: .* GB resident", said[1])


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_limits_that_make_no_sense_are_refused(value):
    for field, flag in (("cell_time", "--cell-time"), ("cell_memory", "--cell-memory")):
        with pytest.raises(UsageError, match=f"{flag}: expected a number above 0"):
            check_limits(RunSettings(**{field: value}))


def test_memory_that_cannot_be_read_is_said_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "STATM", tmp_path / "none")
    with pytest.raises(UsageError, match="only Linux"):
        check_limits(RunSettings(cell_memory=1.0))


def test_the_flags_reach_the_cells(run):
    ended = run("--json", "--cell-time", 0.5, attacks="fgsm,pgd_linf[steps=10000000]")
    assert ended.code == 1
    assert '"over its time limit of 0.5 s"' in ended.out
    assert "1 cells failed" in ended.err


# In each executor.


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: team.executor)
def test_a_cell_over_its_time_fails_and_the_rest_goes_on(team, tmp_path):
    model, plan = own_model(tmp_path, ENDLESS.format(when=FINE)), {**SIX, "attacks": "fgsm"}
    run = fill_with(team, tmp_path, Limits(1.0), defenses=model, **plan)
    assert run.ended == {"done": 2, "failed": 1}
    failed = run.only(method="finetune")
    assert failed.reason == "over its time limit of 1 s"
    assert failed.outcome is None and not failed.fingerprint
    again = fill_with(team, tmp_path, Limits(1.0), defenses=model, **plan)
    assert again.ended == {"cached": 2, "failed": 1}, "a limit is never a result"


@pytest.mark.skipif(not limits.STATM.is_file(), reason="resident memory is read on Linux")
def test_a_cell_over_its_memory_fails_and_the_rest_goes_on(tmp_path):
    take = "[(torch.ones(2_500_000), time.sleep(0.01)) for _ in range(300)]"  # up to 3 GB
    model = own_model(tmp_path, f"{take} if {FINE} else 0")
    plan = {**SIX, "attacks": "fgsm"}
    run = fill_with(Team("processes", 1), tmp_path, Limits(None, 1.5), defenses=model, **plan)
    assert run.ended == {"done": 2, "failed": 1}
    assert run.only(method="finetune").reason.startswith("over its memory limit of")


@pytest.mark.slow
@pytest.mark.parametrize(
    "stuck", ["time.sleep(1000)", "re.match('(a|a)*b', 40 * 'a')"], ids=["sleeps", "holds the GIL"]
)
def test_a_worker_that_no_longer_listens_is_ended(stuck, tmp_path):
    """Where no Python code runs, an exception arrives nowhere: the process has to go."""
    model = own_model(tmp_path, f"{stuck} if worker and {FINE} else 0")
    plan = {**SIX, "attacks": "uniform_noise"}
    run = fill_with(Team("processes", 1), tmp_path, Limits(1.0), defenses=model, **plan)
    assert run.ended == {"done": 2, "failed": 1}
    assert run.only(method="finetune").reason == "over its time limit of 1 s"
