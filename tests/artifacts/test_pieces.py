"""Examples of costly attacks are made in pieces, by several workers."""

from __future__ import annotations

import pytest
import torch
from damage import edit
from own_models import FINE, KILL, Limits, Team, fill_with, own_model, same
from test_examples import Situation

from benchmark.artifacts import examples
from benchmark.artifacts.example_cache import Cache
from benchmark.artifacts.examples import AttackRequest, ExampleStore, key_of
from benchmark.evaluation import batch_size
from benchmark.evaluation.verdicts import Meter
from benchmark.execution import driver

COSTLY = {"attacks": "aa_square[queries=300]", "shots": [0], "limit": 397}
TWO = Team("processes", 2)


# Pieces that are put together.


@pytest.fixture
def request_of_four(monkeypatch):
    """Twelve images in four pieces."""
    monkeypatch.setattr(batch_size, "COSTLY", 1)
    monkeypatch.setattr(batch_size, "FEWER", 3)
    monkeypatch.setattr(batch_size, "TINY", 0)
    found = Situation()
    return AttackRequest(found.attack, found.model, found.batch, found.rng, {"what": "query"})


def cached(folder, said=print):
    return ExampleStore(Cache(folder, 1 << 30, said))


def test_pieces_put_together_are_the_whole_bit_for_bit(request_of_four, tmp_path):
    whole, parts, joined = Meter(), Meter(), Meter()
    expected = ExampleStore(None).craft(request_of_four, whole)
    assert cached(tmp_path).missing(request_of_four) == [0, 1, 2, 3]
    for number in (2, 0, 3):
        cached(tmp_path).craft_piece(request_of_four, number, parts)
    assert cached(tmp_path).missing(request_of_four) == [1]
    found = cached(tmp_path).craft(request_of_four, joined)
    assert torch.equal(found.images, expected.images)
    assert not torch.equal(found.images, request_of_four.batch.images)
    assert torch.equal(found.robust, expected.robust)
    assert found.outside == expected.outside
    assert parts.forwards + joined.forwards == whole.forwards == 4 * joined.forwards
    assert parts.backwards + joined.backwards == whole.backwards


def test_a_killed_attack_goes_on_with_the_piece_it_was_at(request_of_four, tmp_path, monkeypatch):
    genuine, calls = examples.verdicts.run_attack, []

    def killed(*parts):
        calls.append(parts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return genuine(*parts)

    monkeypatch.setattr(examples.verdicts, "run_attack", killed)
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path).craft(request_of_four, Meter())
    assert cached(tmp_path).missing(request_of_four) == [2, 3]
    cached(tmp_path).craft(request_of_four, Meter())
    assert len(calls) == 3 + 2


def test_a_piece_is_trusted_no_more_than_an_attack(request_of_four, tmp_path):
    """One over budget in the cache is said, and made again."""
    expected, said = cached(tmp_path).craft(request_of_four, Meter()), []
    piece = key_of(request_of_four.pieces[2])
    spoil = edit(lambda tensors, _: tensors.update(images=torch.ones(3, 1, 8, 8)))
    spoil(tmp_path / f"{piece}.safetensors")
    found = cached(tmp_path, said.append).craft(request_of_four, Meter())
    assert torch.equal(found.images, expected.images)
    (line,) = said
    assert "left its budget" in line


# Pieces made by several workers.

HERE_AND_THERE = """
from benchmark.evaluation import batch_size
batch_size.TINY, batch_size.COSTLY = 0, 300
"""
"""In the user's file, which every worker reads: the 397 scored digits in two pieces."""


@pytest.fixture
def costly(monkeypatch, tmp_path):
    """The plan, with a model that does `act`."""
    monkeypatch.setattr(batch_size, "COSTLY", 300)
    monkeypatch.setattr(batch_size, "TINY", 0)

    def plan(act="0", **values):
        name = own_model(tmp_path, act)
        file = tmp_path / "own.py"
        file.write_text(HERE_AND_THERE + file.read_text())
        return {**COSTLY, "defenses": name, **values}

    return plan


@pytest.fixture
def parts(monkeypatch):
    """What came of the pieces that workers were asked for: True for one that was made."""
    told, hear, ended = [], driver.Driver._hear, driver.Driver._piece_ended

    def heard(self, running, event):
        told.extend([True] * (event.kind == "spent"))
        hear(self, running, event)

    def piece_ended(self, running, result):
        told.extend([False] * isinstance(result, str))
        ended(self, running, result)

    monkeypatch.setattr(driver.Driver, "_hear", heard)
    monkeypatch.setattr(driver.Driver, "_piece_ended", piece_ended)
    return told


def test_workers_share_a_costly_attack_and_no_record_shows_it(costly, tmp_path, parts):
    single = fill_with(Team("here"), tmp_path / "here", **costly())
    double = fill_with(TWO, tmp_path / "two", **costly())
    assert parts == [True, True]
    assert double.ended == single.ended == {"done": 1}
    assert same(double) == same(single)
    assert 0 < double.records[0].outcome.before.unpack().mean() < 0.9


@pytest.fixture
def tasks(monkeypatch):
    """How many cells each task was to run that is none of a piece."""
    given, submit = [], driver.Driver._submit

    def submitted(self, work):
        if not work.pieces:
            given.append(len(work.alone or work.todo))
        submit(self, work)

    monkeypatch.setattr(driver.Driver, "_submit", submitted)
    return given


def passes(run):
    return sum(record.cost.forwards for record in run.records)


def test_workers_share_adapted_models_and_no_record_shows_it(costly, tmp_path, parts, tasks):
    values = costly(shots=[0, 1, 2], episodes=2, methods=["finetune", "head"])
    single = fill_with(Team("here"), tmp_path / "one", **values)
    double = fill_with(TWO, tmp_path / "two", **values)
    assert parts == [True, True, True]  # two of what is scored, and what is shown
    assert tasks == [1] * 5
    assert double.ended == single.ended == {"done": 5}
    assert same(double) == same(single)
    assert passes(double) == passes(single)
    assert not list((tmp_path / "two").glob(".locks/*.lock.*"))


@pytest.mark.parametrize(
    ("values", "given"),
    [({"knowledge": ["simulated"], "steps": 1}, [2]), ({"shown": "fgsm"}, [1, 1])],
    ids=["where adapting costs much", "what is shown is another attack's"],
)
def test_what_is_shown_otherwise_changes_nothing(costly, tmp_path, tasks, values, given):
    values = costly(shots=[1, 2], episodes=1, **values)
    double = fill_with(TWO, tmp_path / "two", **values)
    assert sorted(tasks) == given
    assert same(double) == same(fill_with(Team("here"), tmp_path / "one", **values))


def test_without_a_cache_one_worker_does_it_all(costly, tmp_path, tasks, monkeypatch):
    monkeypatch.setattr(ExampleStore, "keeps", lambda *_: False)
    fill_with(TWO, tmp_path, **costly(shots=[0, 1], episodes=1))
    assert tasks == [2]


def test_a_worker_that_dies_at_its_share_costs_its_cell_alone(costly, tmp_path, tasks):
    act = f"if worker and {FINE}: {KILL}"
    values = costly(act, shots=[0, 1], episodes=1, methods=["finetune", "head"])
    run = fill_with(TWO, tmp_path, **values)
    assert run.ended == {"done": 2, "failed": 1}
    assert tasks == [1] * 4


def test_what_is_there_is_not_attacked_again(costly, tmp_path):
    """Adapted models are attacked one by one, so that those of finished cells can be left out."""
    fill_with(Team("here"), tmp_path, **costly(shots=[0, 1], episodes=1))
    values = costly(shots=[0, 1, 2], episodes=1)
    more = fill_with(Team("here"), tmp_path, **values)
    assert more.ended == {"cached": 2, "done": 1}
    whole = fill_with(Team("here"), tmp_path / "whole", **values)
    assert same(more) == same(whole)
    assert more.records[2].cost.forwards < sum(one.cost.forwards for one in whole.records[1:])


def test_what_fails_where_the_run_is_driven_is_left_to_the_cell(
    costly, tmp_path, parts, monkeypatch
):
    monkeypatch.setattr(ExampleStore, "missing", lambda *_: 1 / 0)
    assert fill_with(TWO, tmp_path, **costly()).ended == {"done": 1}
    assert parts == []


@pytest.mark.parametrize(
    ("team", "limits"),
    [(Team("processes", 1), Limits()), (TWO, Limits(seconds=600))],
    ids=["one worker", "limits, which are those of a whole cell"],
)
def test_where_it_gains_nothing_or_limits_hold_nothing_is_shared(
    costly, tmp_path, parts, team, limits
):
    single = fill_with(Team("here"), tmp_path / "here", **costly())
    assert same(fill_with(team, tmp_path / "two", limits, **costly())) == same(single)
    assert parts == []


def test_a_worker_that_dies_at_a_piece_costs_nothing(costly, tmp_path, parts):
    mark = tmp_path / "mark"
    act = f"if worker and not Path({str(mark)!r}).exists(): Path({str(mark)!r}).touch(); {KILL}"
    run = fill_with(TWO, tmp_path / "died", **costly(act))
    assert mark.exists()
    assert False in parts
    assert run.ended == {"done": 1}
    assert len(run.log.notes) == parts.count(False)  # both may die before the mark is there
    said = "a worker died of signal 9 (SIGKILL); trying again: digits/"
    assert all(note.startswith(said) for note in run.log.notes)


def test_a_piece_that_crashes_is_a_failed_cell_and_never_robustness(costly, tmp_path, parts):
    run = fill_with(TWO, tmp_path, **costly("assert not worker or len(images) < 150, 'too many'"))
    assert True not in parts
    assert run.ended == {"failed": 1}
    assert "too many" in run.records[0].reason
