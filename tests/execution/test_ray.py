"""Cells on a Ray that is started here: the records of one process, and what may go wrong."""

from __future__ import annotations

import logging
import os
import socket
import time

import pytest
from own_models import (
    FINE,
    FINE_FAILED,
    KILL,
    SIX,
    Limits,
    Team,
    fill_with,
    own_model,
    same,
    statuses,
)

from benchmark.core.errors import UsageError
from benchmark.execution import driver, ray_backend
from benchmark.execution.ray_backend import check_ray

ray = pytest.importorskip("ray", reason="needs the extra `ray`")
pytestmark = [pytest.mark.slow, pytest.mark.extra]

RAY = Team("ray", 2)
MATRIX = {"attacks": "pgd_linf[steps=3],uniform_noise,tifgsm", "shots": [0, 1]}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One Ray for all tests of this file."""
    ray.init(
        "local", num_cpus=2, include_dashboard=False, log_to_driver=False,
        logging_level=logging.CRITICAL,
    )  # fmt: skip
    yield
    ray.shutdown()


def test_ray_gives_the_records_of_one_process(tmp_path):
    single = fill_with(Team("here"), tmp_path / "here", **MATRIX)
    double = fill_with(RAY, tmp_path / "ray", **MATRIX)
    assert double.ended == single.ended == {"done": 4, "skipped": 2}
    assert same(double) == same(single)
    assert len(double.log.trained) == 1, "the driver trains, not the workers"
    assert fill_with(RAY, tmp_path / "ray", **MATRIX).ended == {"cached": 6}


@pytest.mark.timeout(120)
def test_one_task_at_a_time_makes_room_for_the_next(tmp_path):
    run = fill_with(Team("ray", 1), tmp_path, attacks="fgsm,pgd_l2,uniform_noise", shots=[0])
    assert run.ended == {"done": 3}


def test_a_lost_worker_costs_its_cell_alone(tmp_path, capfd):
    act = f"if worker and {FINE}: {KILL}"
    run = fill_with(RAY, tmp_path, defenses=own_model(tmp_path, act), **SIX)
    assert statuses(run) == FINE_FAILED
    reasons = {record.reason for record in run.records if record.status == "failed"}
    assert reasons == {"a Ray worker died (WorkerCrashedError), twice while it ran this cell"}
    assert capfd.readouterr() == ("", ""), "Ray keeps quiet"


@pytest.mark.parametrize("act", ["sys.exit(3)", "raise GeneratorExit", "raise ValueError('late')"])
def test_what_a_model_raises_costs_one_cell(act, tmp_path):
    model = own_model(tmp_path, f"if worker and {FINE}: {act}")
    run = fill_with(RAY, tmp_path, defenses=model, **SIX)
    assert statuses(run) == FINE_FAILED
    failed = [record for record in run.records if record.status == "failed"]
    assert all("own.py" in record.reason and act in record.traceback for record in failed)


def test_a_worker_that_a_model_interrupts_costs_its_cell(tmp_path):
    model = own_model(tmp_path, f"if worker and {FINE}: raise KeyboardInterrupt")
    run = fill_with(RAY, tmp_path, defenses=model, **SIX)
    assert statuses(run) == FINE_FAILED
    reasons = {record.reason for record in run.records if record.status == "failed"}
    assert reasons == {"a Ray worker was interrupted, twice while it ran this cell"}


def test_a_worker_that_is_lost_once_costs_nothing(tmp_path):
    mark = tmp_path / "mark"
    act = f"if worker and {FINE} and not Path({str(mark)!r}).exists(): "
    act += f"Path({str(mark)!r}).touch(); {KILL}"
    run = fill_with(RAY, tmp_path / "lost", defenses=own_model(tmp_path, act), **SIX)
    assert mark.exists()
    assert run.ended == {"done": 6}
    assert "trying again" in run.log.notes[0]


@pytest.mark.parametrize("stuck", ["while {when}: pass", "time.sleep(1000) if {when} else 0"])
def test_a_cell_over_its_time_fails_and_the_rest_goes_on(stuck, tmp_path):
    plan = {**SIX, "attacks": "uniform_noise"}
    model = own_model(tmp_path, stuck.format(when=f"(worker and {FINE})"))
    run = fill_with(RAY, tmp_path, Limits(2.0), defenses=model, **plan)
    assert run.ended == {"done": 2, "failed": 1}
    assert run.only(method="finetune").reason == "over its time limit of 2 s"


def test_a_worker_with_other_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "code_version", lambda: "code 0, torch 1, Python 2")
    with pytest.raises(UsageError, match=r"expected code 0, torch 1, Python 2, got code \w{12}, "):
        fill_with(RAY, tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_what_a_worker_cannot_load_is_said_in_one_line(tmp_path):
    """A file that is here and not there, as on another machine."""
    model = own_model(tmp_path, "0")
    file = tmp_path / "own.py"
    elsewhere = f"if os.getpid() != {os.getpid()}: raise OSError('not here')"
    file.write_text(f"{file.read_text()}\n{elsewhere}\n")
    with pytest.raises(UsageError, match=r"own\.py fails on import: OSError: not here"):
        fill_with(RAY, tmp_path, defenses=model, shots=[0])


def test_a_task_that_fits_nowhere_is_refused(tmp_path):
    with pytest.raises(UsageError, match="a task needs 1 CPUs and 4 GPUs, it has 2 and 0 in all"):
        fill_with(RAY._replace(gpus=4.0), tmp_path)


# Addresses.


@pytest.mark.parametrize(
    "address", ["there", "10.0.0.1", "ray://10.0.0.1:10001", "host:port", ":1"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(UsageError, match=r"--address: expected HOST:PORT of a Ray head node"):
        check_ray(address)


def test_an_address_where_nothing_listens_is_refused_at_once():
    begin = time.monotonic()
    with pytest.raises(UsageError, match=r"--address 127.0.0.1:1: no Ray answers there"):
        check_ray("127.0.0.1:1")
    assert time.monotonic() - begin < ray_backend.ANSWER


def test_an_address_that_never_answers_is_given_up(monkeypatch, capfd):
    monkeypatch.setattr(ray_backend, "ANSWER", 3.0)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}: no Ray answers there"):
            check_ray(f"127.0.0.1:{port}")
    assert capfd.readouterr() == ("", ""), "Ray's own retries are not shown"


def test_an_address_that_answers_is_taken():
    check_ray(ray.get_runtime_context().gcs_address)


def test_no_ray_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(ray_backend, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs Ray: pip install -e '\.\[ray\]'"):
        check_ray(None)


# A Ray of the run's own.


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_on_a_run_with_its_own_ray(ctrl_c, tmp_path):
    words = (
        "run --defense standard[epochs=1] --attacks fgsm,pgd_linf[steps=1000000] --limit 20 "
        "--shots 0 --executor ray --jobs 2 --json --results"
    )
    ctrl_c(words, tmp_path)
