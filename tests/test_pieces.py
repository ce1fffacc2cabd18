"""How many images go at once, and examples made in pieces by several workers."""

from __future__ import annotations

from multiprocessing import get_context

import pytest
import torch
from own_models import KILL, fill_with, own_model, same
from test_cached_examples import Situation
from tiny_runs import lab_for, tiny_plan
from torch import nn

from attacks.autoattack.square import SquareLinf
from attacks.gradient import PGDLinf
from benchmark.artifacts.examples import Wanted, craft, craft_piece
from benchmark.artifacts.settings import Limits
from benchmark.core.errors import AuditError
from benchmark.evaluation import batch_size as pieces_module
from benchmark.evaluation.batch_size import FEWER, MOST, kept_for_the_way_back, pieces_for
from benchmark.evaluation.verdicts import Meter, frozen
from benchmark.execution import scheduler
from benchmark.execution import worker as work
from benchmark.execution.execute import Team
from benchmark.execution.processes import Processes
from benchmark.execution.worker import Made, PieceOrder
from benchmark.protocol.workspace import Lab

COSTLY = {"attacks": "aa_square[queries=300]", "shots": [0], "limit": 397}
TWO = Team("processes", 2)


def test_what_a_pass_keeps_is_measured():
    """ReLU keeps its answers, a frozen linear layer nothing that grows with the images."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    assert kept_for_the_way_back(frozen(net), torch.rand(9, 1, 8, 8)) == 32 * 4
    assert kept_for_the_way_back(net, torch.rand(9, 1, 8, 8)) == (32 + 64 + 32) * 4
    assert kept_for_the_way_back(nn.Flatten(), torch.rand(9, 1, 8, 8)) == 0


def test_a_model_that_does_not_answer_a_few_images_is_attacked_all_the_same():
    class Many(nn.Flatten):
        def forward(self, images):
            assert len(images) > 2, "too few"
            return super().forward(images)

    found = pieces_for(PGDLinf(0.1), Many(), torch.rand(600, 1, 28, 28))
    assert [len(rows) for rows in found] == [300, 300]


@pytest.mark.parametrize(
    ("room", "passes", "expected"),
    [
        (1 << 30, 81, [500, 500, 500]),
        (150 * 128, 81, [150] * 10),
        (1, 81, [100] * 15),
        (1 << 30, 2000, [FEWER] * 6),
        (215 * 128, 2000, [188] * 4 + [187] * 4),
    ],
    ids=["at most so many", "as many as fit", "at least so many", "fewer if costly", "and even"],
)
def test_as_many_as_fit_go_at_once(monkeypatch, room, passes, expected):
    monkeypatch.setitem(pieces_module.ROOM, "cpu", room)
    monkeypatch.setattr(pieces_module, "TINY", 0)
    monkeypatch.setattr(PGDLinf, "passes", passes)
    assert MOST["cpu"] == 500
    net = frozen(nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)))
    found = pieces_for(PGDLinf(0.1), net, torch.rand(1500, 1, 8, 8))
    assert [len(rows) for rows in found] == expected
    assert torch.cat(found).tolist() == list(range(1500))


def test_tiny_images_go_at_once_however_costly_the_attack():
    """Half of the digits take nearly as long as all."""
    attack, net = SquareLinf(0.1), frozen(nn.Flatten())
    assert [len(rows) for rows in pieces_for(attack, net, torch.rand(397, 1, 8, 8))] == [397]
    assert [len(rows) for rows in pieces_for(attack, net, torch.rand(397, 1, 28, 28))] == [199, 198]


def test_of_large_images_no_more_go_at_once_than_surely_fit(monkeypatch):
    monkeypatch.setitem(pieces_module.ROOM, "cpu", 1)
    net = frozen(nn.Sequential(nn.Flatten(), nn.ReLU()))
    found = pieces_for(PGDLinf(0.1), net, torch.rand(6, 3, 224, 224))
    assert [len(rows) for rows in found] == [2, 2, 2]


# Pieces that are put together.


@pytest.fixture
def wanted(monkeypatch):
    """Twelve images in four pieces."""
    monkeypatch.setattr("benchmark.evaluation.batch_size.COSTLY", 1)
    monkeypatch.setattr("benchmark.evaluation.batch_size.FEWER", 3)
    monkeypatch.setattr("benchmark.evaluation.batch_size.TINY", 0)
    found = Situation()
    return Wanted(found.attack, found.model, found.batch, found.rng, {})


def test_pieces_put_together_are_the_whole_bit_for_bit(wanted):
    whole, joined = Meter(), Meter()
    expected = craft(None, wanted, whole)
    parts = [craft_piece(wanted, number) for number in range(4)]
    found = craft(None, wanted, joined, parts)
    assert torch.equal(found.images, expected.images)
    assert not torch.equal(found.images, wanted.batch.images)
    assert torch.equal(found.robust, expected.robust)
    assert (found.outside, joined.forwards, joined.backwards) == (
        expected.outside, whole.forwards, whole.backwards,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "0" * 16}, "crafted against another model"),
        ({"images": torch.ones(3, 1, 8, 8)}, "left its budget .* on 3 of 12 images"),
        ({"images": torch.full((3, 1, 8, 8), 2.0)}, r"returned pixels in"),
        ({"images": torch.ones(2, 1, 8, 8)}, r"shape \(11, 1, 8, 8\), expected \(12, 1, 8, 8\)"),
    ],
)
def test_a_piece_is_trusted_no_more_than_an_attack(wanted, change, said):
    parts = [craft_piece(wanted, number) for number in range(4)]
    parts[2] = parts[2]._replace(**change)
    with pytest.raises(AuditError, match=said):
        craft(None, wanted, Meter(), parts)


def test_what_is_in_the_cache_is_not_made_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.evaluation.batch_size.TINY", 0)
    monkeypatch.setattr("benchmark.evaluation.batch_size.COSTLY", 300)
    lab = lab_for(tiny_plan(**COSTLY), tmp_path)
    lab.place = lab.place._replace(cache=tmp_path / "cache", cache_limit=1 << 30)
    lab = type(lab)(lab.plan, lab.place, lab.watch)
    (cell,) = lab.plan.cells
    assert lab.static_pieces(cell) == 2
    lab.static(cell, Meter())
    assert lab.static_pieces(cell) == 0


# Pieces made by several workers.


@pytest.fixture
def two_pieces(monkeypatch):
    """Of the 397 scored digits: here and in workers, which are forks and see what is changed."""
    wait = Processes.__exit__  # for workers that each hold the other's pipe, and so do not end
    end = lambda self, kind, *rest: wait(self, kind or KeyboardInterrupt, *rest)  # noqa: E731
    monkeypatch.setattr(Processes, "__exit__", end)
    monkeypatch.setattr("benchmark.evaluation.batch_size.TINY", 0)
    monkeypatch.setattr("benchmark.evaluation.batch_size.COSTLY", 300)
    monkeypatch.setattr("benchmark.execution.scheduler.COSTLY", 300)
    monkeypatch.setattr("benchmark.execution.processes.context", lambda: get_context("fork"))


@pytest.fixture
def parts(two_pieces, monkeypatch):
    """What was asked of workers and what came of it: True for a piece that was made."""
    told, real = [], scheduler._Driver._handle_part

    def handle(self, part, event):
        if not isinstance(event, work.Begun):
            told.append(isinstance(event, Made) and event.piece is not None)
        real(self, part, event)

    monkeypatch.setattr(scheduler._Driver, "_handle_part", handle)
    return told


@pytest.fixture
def single(two_pieces, tmp_path):
    return fill_with(Team("here"), tmp_path / "here", **COSTLY)


def test_workers_share_a_costly_attack_and_no_record_shows_it(single, tmp_path, parts):
    double = fill_with(TWO, tmp_path / "two", **COSTLY)
    assert parts == [True, True]
    assert double.ended == single.ended == {"done": 1}
    assert same(double) == same(single)
    assert 0 < double.records[0].outcome.before.unpack().mean() < 0.9


def test_static_examples_made_in_pieces_serve_what_adapts(tmp_path, parts):
    values = {**COSTLY, "shots": [0, 1], "episodes": 1}
    double = fill_with(TWO, tmp_path / "two", **values)
    assert parts == [True, True]
    assert same(double) == same(fill_with(Team("here"), tmp_path / "one", **values))


def test_what_fails_where_the_run_is_driven_is_left_to_the_cell(tmp_path, parts, monkeypatch):
    monkeypatch.setattr(Lab, "static_pieces", lambda *_: 1 / 0)
    assert fill_with(TWO, tmp_path, **COSTLY).ended == {"done": 1}
    assert parts == []


@pytest.mark.parametrize(
    ("team", "limits"),
    [(Team("processes", 1), Limits()), (TWO, Limits(seconds=600))],
    ids=["one worker", "limits, which are those of a whole cell"],
)
def test_where_it_gains_nothing_or_limits_hold_nothing_is_shared(
    single, tmp_path, parts, team, limits
):
    assert same(fill_with(team, tmp_path / "two", limits, **COSTLY)) == same(single)
    assert parts == []


def test_a_worker_that_dies_at_a_piece_costs_nothing(tmp_path, parts):
    mark = tmp_path / "mark"
    act = f"if worker and not Path({str(mark)!r}).exists(): Path({str(mark)!r}).touch(); {KILL}"
    values = {**COSTLY, "defenses": own_model(tmp_path, act)}
    run = fill_with(TWO, tmp_path / "died", **values)
    assert mark.exists()
    assert False in parts
    assert run.ended == {"done": 1}
    assert len(run.log.notes) == parts.count(False)  # both may die before the mark is there
    said = "a worker died of signal 9 (SIGKILL); trying again: digits/"
    assert all(note.startswith(said) for note in run.log.notes)


def test_a_piece_that_crashes_is_a_failed_cell_and_never_robustness(tmp_path, parts):
    act = "assert not worker or len(images) < 150, 'too many'"
    run = fill_with(TWO, tmp_path, **{**COSTLY, "defenses": own_model(tmp_path, act)})
    assert True not in parts
    assert parts
    assert run.ended == {"failed": 1}
    assert "too many" in run.records[0].reason


def test_a_worker_says_that_it_could_not_make_a_piece(tmp_path, monkeypatch):
    lab = lab_for(tiny_plan(**COSTLY), tmp_path)
    cell = lab.plan.cells[0]
    monkeypatch.setattr(work.WorkerLab, "static_piece", lambda *_: 1 / 0)
    worker = work.WorkerLab(work.Job(lab.place, ("standard[epochs=2]",)))
    events = list(work._make(worker, PieceOrder(None, cell, 0)))
    assert events == [work.Begun(cell), Made(None)]
