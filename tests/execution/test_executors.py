"""Cells in several processes: the records of one, and a worker's death costs one cell."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from own_models import FINE, FINE_FAILED, KILL, SIX, Team, fill_with, own_model, same, statuses
from tiny_runs import prepare, tiny_plan

from benchmark.artifacts.settings import RunSettings
from benchmark.core.errors import UsageError
from benchmark.execution import execute, worker
from benchmark.execution.queue import GroupQueue

HERE, TWO = Team("here"), Team("processes", 2)
MATRIX = {"attacks": "pgd_linf[steps=3],uniform_noise,tifgsm", "shots": [0, 1], "seeds": [0, 1]}


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return fill_with(HERE, tmp_path_factory.mktemp("here"), **MATRIX)


def test_several_processes_give_the_records_of_one(single, tmp_path):
    double = fill_with(TWO, tmp_path, **MATRIX)
    assert double.ended == single.ended == {"done": 8, "skipped": 4}
    assert same(double) == same(single)
    assert len(double.log.trained) == 2, "the driver trains, not the workers"
    again = fill_with(TWO, tmp_path, **MATRIX)
    assert again.ended == {"cached": 12}


def test_auto_starts_no_process_for_little_work(single, tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "Processes", None)
    assert same(fill_with(Team("auto", 2), tmp_path, **MATRIX)) == same(single)


def test_auto_starts_processes_for_much_work(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "WORTHWHILE", 0)
    monkeypatch.setattr(execute, "Processes", None)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        fill_with(Team("auto", 2), tmp_path, **MATRIX)


def test_a_dying_worker_costs_its_cell_alone(tmp_path):
    act = f"if worker and {FINE}: {KILL}"
    run = fill_with(TWO, tmp_path, defenses=own_model(tmp_path, act), **SIX)
    assert run.ended == {"done": 4, "failed": 2}
    assert statuses(run) == FINE_FAILED
    reasons = {record.reason for record in run.records if record.status == "failed"}
    assert reasons == {"a worker died of signal 9 (SIGKILL), twice while it ran this cell"}
    assert sum("trying again" in note for note in run.log.notes) == 2


def test_a_worker_that_dies_once_costs_nothing(tmp_path):
    mark = tmp_path / "mark"
    act = f"if worker and {FINE} and not Path({str(mark)!r}).exists(): "
    act += f"Path({str(mark)!r}).touch(); {KILL}"
    run = fill_with(TWO, tmp_path / "died", defenses=own_model(tmp_path, act), **SIX)
    assert mark.exists()
    assert run.ended == {"done": 6}
    (note,) = run.log.notes
    assert note.startswith("a worker died of signal 9 (SIGKILL); trying again: digits/")


def test_a_failed_cell_runs_again_next_time(tmp_path):
    act = f"if worker and {FINE}: {KILL}"
    fill_with(TWO, tmp_path, defenses=own_model(tmp_path, act), **SIX)
    again = fill_with(HERE, tmp_path, defenses=own_model(tmp_path, act), **SIX)
    assert again.ended == {"cached": 4, "done": 2}


def test_a_worker_with_other_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "benchmark.execution.driver.code_version", lambda: "code 0, torch 1, Python 2"
    )
    with pytest.raises(UsageError, match=r"expected code 0, torch 1, Python 2, got code \w{12}, "):
        fill_with(TWO, tmp_path)
    assert not list(tmp_path.rglob("*.json"))


def test_a_model_that_nobody_can_pickle_is_made_by_the_worker(tmp_path):
    file = tmp_path / "local.py"
    file.write_text(
        "from torch import nn\ndef Net():\n    class Local(nn.Flatten):\n"
        "        def forward(self, images): return super().forward(images)[:, :10]\n"
        "    return Local()\n"
    )
    plan = {"defenses": f"{file}:Net", "attacks": "fgsm,uniform_noise", "shots": [0]}
    prepared = prepare(tiny_plan(**plan), tmp_path)
    assert worker.pack(prepared.model(prepared.plan.cells[0])) == b""
    single = fill_with(HERE, tmp_path / "one", **plan)
    assert same(fill_with(TWO, tmp_path / "two", **plan)) == same(single)


def test_training_that_fails_is_tried_once_and_said_by_every_cell(tmp_path):
    act = "if len(images) == 100: return images.flatten(1)[:, :10] / 0"
    run = fill_with(TWO, tmp_path, defenses=own_model(tmp_path, act), attacks="fgsm,uniform_noise")
    assert run.ended == {"failed": 4}
    assert all("logits are not finite" in record.reason for record in run.records)


def test_the_most_expensive_group_is_first(tmp_path):
    plan = tiny_plan("uniform_noise[draws=1],pgd_linf[steps=9],fgsm", shots=[0, 1], seeds=[0, 1])
    groups = GroupQueue(plan, prepare(plan, tmp_path).loader, by_cost=True).open
    assert [(cells[0].seed, cells[0].attack.partition("[")[0]) for cells in groups] == [
        (seed, attack) for seed in (0, 1) for attack in ("pgd_linf", "fgsm", "uniform_noise")
    ]  # fmt: skip
    assert [len(cells) for cells in groups] == [2] * 6


def test_workers_compute_with_their_share_of_the_cores(tmp_path):
    """A model whose forward knows how many threads it runs on."""
    act = "if worker: assert torch.get_num_threads() == 1, torch.get_num_threads()"
    torch.set_num_threads(2)
    try:
        run = fill_with(TWO, tmp_path, defenses=own_model(tmp_path, act), shots=[0])
    finally:
        torch.set_num_threads(1)
    assert run.ended == {"done": 1}


def test_paths_mean_the_same_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = RunSettings(data_dir=Path("data"), cache=Path("cache")).anywhere()
    assert (settings.results, settings.data_dir) == (tmp_path / "results", tmp_path / "data")
    assert settings.cache_folder == tmp_path / "cache"
    assert worker.anywhere("standard[epochs=1]") == "standard[epochs=1]"
    assert worker.anywhere("mine.py:Net[width=2]") == f"{tmp_path}/mine.py:Net[width=2]"
