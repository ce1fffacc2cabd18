"""A cell over its time or memory is failed, in every executor, and the run goes on."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from own_models import FINE, FINE_FAILED, SIX, fill_with, own_model, statuses

from benchmark.artifacts.settings import Limits
from benchmark.core.errors import OverLimit, UsageError
from benchmark.execution import limits
from benchmark.execution.execute import Team
from benchmark.execution.limits import check_limits, limited, resident

TEAMS = [Team("here"), Team("processes", 1)]
ENDLESS = "while {when}: pass"


def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


# The guard itself.


def test_what_takes_too_long_is_stopped():
    begin = time.monotonic()
    with pytest.raises(OverLimit, match=r"^over its time limit of 0.2 s$"), limited(Limits(0.2)):
        spin(60)
    assert time.monotonic() - begin < 30


def test_what_is_in_time_is_left_alone():
    for _ in range(20):
        with limited(Limits(30.0, resident() + 5)):
            spin(0.01)
    time.sleep(2 * limits.PERIOD)  # nothing arrives late


TRACED = """
import sys
from benchmark.core.errors import OverLimit
from benchmark.execution.limits import Limits, limited

try:
    with limited(Limits({seconds})):
        while {busy}:
            pass
except OverLimit:
    pass
sys.settrace(lambda *_: None)
(lambda: None)()
"""


@pytest.mark.parametrize(("seconds", "busy"), [(30.0, False), (0.1, True)])
def test_a_debugger_or_pyautoattack_may_trace_what_comes_after(seconds, busy):
    """What a guard leaves behind in the interpreter must not hang CPython 3.11 under a trace."""
    program = TRACED.format(seconds=seconds, busy=busy)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=100)


def test_an_error_of_the_cell_stays_what_it_is():
    with pytest.raises(ZeroDivisionError), limited(Limits(30.0)):
        _ = 1 / 0


def test_code_that_catches_everything_cannot_go_on():
    def stubborn():
        try:
            spin(60)
        except BaseException:
            return "finished"

    with pytest.raises(OverLimit, match="over its time limit"), limited(Limits(0.2)):
        stubborn()


def test_an_interrupt_is_not_a_limit():
    def interrupted():
        try:
            spin(60)
        except OverLimit:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt), limited(Limits(0.2)):
        interrupted()


@pytest.mark.skipif(not limits.STATM.is_file(), reason="resident memory is read on Linux")
def test_what_takes_too_much_memory_is_stopped():
    before, hold = resident(), []
    reason = r"^over its memory limit of .* GB: .* GB resident$"
    with pytest.raises(OverLimit, match=reason), limited(Limits(None, before + 0.1)):
        for _ in range(1000):
            hold.append(bytearray(b"1" * 5_000_000))
            time.sleep(0.01)
    assert len(hold) < 500


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_limits_that_make_no_sense_are_refused(value):
    for field, flag in (("seconds", "--cell-time"), ("gigabytes", "--cell-memory")):
        with pytest.raises(UsageError, match=f"{flag}: expected a number above 0"):
            check_limits(Limits()._replace(**{field: value}))


def test_memory_that_cannot_be_read_is_said_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(limits, "STATM", tmp_path / "none")
    with pytest.raises(UsageError, match="only Linux"):
        check_limits(Limits(None, 1.0))


def test_the_flags_reach_the_cells(run):
    ended = run("--json", "--cell-time", 0.5, attacks="fgsm,pgd_linf[steps=10000000]")
    assert ended.code == 1
    assert '"over its time limit of 0.5 s"' in ended.out
    assert "1 cells failed" in ended.err


# In each executor.


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: team.executor)
def test_a_cell_over_its_time_fails_and_the_rest_goes_on(team, tmp_path):
    model = own_model(tmp_path, ENDLESS.format(when=FINE))
    run = fill_with(team, tmp_path, Limits(1.0), defenses=model, **SIX)
    assert statuses(run) == FINE_FAILED
    failed = [record for record in run.records if record.status == "failed"]
    assert {record.reason for record in failed} == {"over its time limit of 1 s"}
    assert all(record.outcome is None and not record.fingerprint for record in failed)
    again = fill_with(team, tmp_path, Limits(1.0), defenses=model, **SIX)
    assert again.ended == {"cached": 4, "failed": 2}, "a limit is never a result"


@pytest.mark.parametrize("team", TEAMS, ids=lambda team: team.executor)
@pytest.mark.skipif(not limits.STATM.is_file(), reason="resident memory is read on Linux")
def test_a_cell_over_its_memory_fails_and_the_rest_goes_on(team, tmp_path):
    take = "[(torch.ones(2_500_000), time.sleep(0.01)) for _ in range(300)]"
    model = own_model(tmp_path, f"{take} if {FINE} else 0")
    run = fill_with(team, tmp_path, Limits(None, resident() + 0.5), defenses=model, **SIX)
    assert statuses(run) == FINE_FAILED
    failed = [record for record in run.records if record.status == "failed"]
    assert all(record.reason.startswith("over its memory limit of") for record in failed)


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
