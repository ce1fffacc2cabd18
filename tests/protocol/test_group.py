"""The runner: paired, repeatable, resumable; nothing is run twice and nothing finished is lost."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tiny_runs import prepare, record_of, run, tiny_plan

from attacks.gradient import PGDLinf
from benchmark.core.errors import UsageError
from benchmark.protocol import group as runner
from benchmark.results.records import Outcome
from benchmark.results.store import record_path

PLAN = {"attacks": "pgd_linf[steps=2],uniform_noise[draws=2]", "shots": [0, 1, 2]}


def verdicts(record):
    return {name: getattr(record.outcome, name) for name in Outcome.model_fields}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A folder and what a first run left there."""
    folder = tmp_path_factory.mktemp("first")
    return folder, run(tiny_plan(**PLAN), folder)


def test_every_cell_is_done_and_written(first):
    _, done = first
    assert done.ended == {"done": 6}
    assert all(record.status == "done" for record in done.records)
    assert done.log.trained == ["standard[epochs=2] on digits, seed 0"]


def test_the_same_command_twice_runs_nothing(first):
    folder, done = first
    again = run(tiny_plan(**PLAN), folder)
    assert again.ended == {"cached": 6}
    assert not again.log.trained
    assert again.records == done.records


def test_the_same_command_elsewhere_gives_the_same_verdicts(first, tmp_path):
    _, done = first
    torch.rand(7)  # whatever the global generators hold
    again = run(tiny_plan(**PLAN), tmp_path)
    assert list(map(verdicts, again.records)) == list(map(verdicts, done.records))


def test_a_cell_does_not_depend_on_the_cells_before_it(first, tmp_path):
    _, done = first
    plan = tiny_plan(**PLAN)
    backwards = run(plan.model_copy(update={"cells": plan.cells[::-1]}), tmp_path)
    assert list(map(verdicts, backwards.records[::-1])) == list(map(verdicts, done.records))


def test_no_shots_give_exactly_the_trained_model(first):
    """Protocols A7."""
    _, done = first
    for record in done.records:
        if record.cell.budget.adapts:
            continue
        outcome = record.outcome
        assert outcome.static == outcome.reattacked == outcome.before
        assert outcome.clean == outcome.clean_before
        assert outcome.moved == [0.0]


def test_verdicts_are_paired_across_budgets(first):
    _, done = first
    for attack in {record.cell.attack for record in done.records}:
        same = [record for record in done.records if record.cell.attack == attack]
        assert len({record.query for record in same}) == 1
        assert len({record.outcome.before.bits for record in same}) == 1
        assert {record.outcome.before.n for record in same} == {40}
        assert [record.outcome.static.episodes for record in same] == [1, 2, 2]


def test_robust_is_never_above_clean(first):
    _, done = first
    for record in done.records:
        outcome = record.outcome
        assert not (outcome.before.unpack() & ~outcome.clean_before.unpack()).any()
        assert not (outcome.reattacked.unpack() & ~outcome.clean.unpack()).any()


def test_adaptation_moves_and_lowers_the_loss_it_saw(first):
    _, done = first
    for record in done.records:
        if record.cell.budget.adapts:
            assert len(record.outcome.moved) == 2
            assert min(record.outcome.moved) > 1e-8
            assert all(after < before for before, after in record.outcome.support_loss)


def test_support_is_nested_and_the_same_for_all(first):
    """1 shot inside 2 shots; what is drawn knows nothing of the attack."""
    _, done = first
    cells = {(c.attack, c.budget.shots): c for c in done.prepared.plan.cells}
    for episode in (0, 1):
        one, two = ([] for _ in range(2))
        for (_, shots), cell in cells.items():
            if shots:
                (one if shots == 1 else two).append(
                    done.prepared.support(cell, episode).ids.tolist()
                )
        assert one[0] == one[1] == two[0][:10] == two[1][:10]
        assert len(two[0]) == 20
    first_ids, second_ids = (
        done.prepared.support(cells["pgd_linf[steps=2]", 1], episode).ids.tolist()
        for episode in (0, 1)
    )
    assert first_ids != second_ids


def test_simulated_knowledge_and_every_method_run(tmp_path):
    plan = tiny_plan(
        shots=[1], methods=["finetune", "head", "norm"], knowledge=["captured", "simulated"],
        steps=2, episodes=1,
    )  # fmt: skip
    done = run(plan, tmp_path)
    assert done.ended == {"done": 6}
    moved = {str(record.cell.budget): record.outcome.moved[0] for record in done.records}
    assert len(set(moved.values())) == 6, "each is an adaptation of its own"


def test_an_interrupt_loses_the_cell_in_flight_and_no_other(tmp_path, monkeypatch):
    plan, genuine = tiny_plan(**PLAN), runner.finish
    calls = []

    def interrupted(cell, *rest):
        calls.append(cell)
        done = genuine(cell, *rest)
        if len(calls) == 4:  # all the work, and then the key before the record
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(runner, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(plan, tmp_path).run()
    written = [record_path(tmp_path, cell).is_file() for cell in plan.cells]
    assert written == [True, True, True, False, False, False]
    monkeypatch.undo()
    resumed = run(plan, tmp_path)
    assert resumed.ended == {"cached": 3, "done": 3}
    assert not resumed.log.trained, "the trained model was kept"


@dataclass(frozen=True)
class Weaker(PGDLinf):
    """Other options under the same name."""


def test_a_stale_record_runs_again_and_says_why(tmp_path):
    name = "pgd_linf"
    plans = [tiny_plan({name: PGDLinf(eps, steps=2)}, shots=[0]) for eps in (0.1, 0.2)]
    old, new = (run(plan, tmp_path) for plan in plans)
    assert new.ended == {"done": 1}
    (note,) = new.log.notes
    assert note.startswith("stale, run again: digits/small_cnn/standard[epochs=2]/s0/pgd_linf/k00")
    assert note.endswith("(attack options changed)")
    assert old.records[0].threat == "linf 0.1"
    assert new.records[0].threat == "linf 0.2"


def test_other_code_makes_a_record_stale(tmp_path):
    run(tiny_plan({"pgd_linf": PGDLinf(0.1, steps=2)}, shots=[0]), tmp_path)
    again = run(tiny_plan({"pgd_linf": Weaker(0.1, steps=2)}, shots=[0]), tmp_path)
    assert again.ended == {"done": 1}
    assert "(attack" in again.log.notes[0]


def test_an_unreadable_record_runs_again_and_says_why(tmp_path):
    plan = tiny_plan(shots=[0])
    run(plan, tmp_path)
    path = record_path(tmp_path, plan.cells[0])
    path.write_text(path.read_text()[:100])
    again = run(plan, tmp_path)
    assert again.ended == {"done": 1}
    assert "not a readable record" in again.log.notes[0]


def test_damaged_weights_are_trained_again(tmp_path):
    plan = tiny_plan(shots=[0])
    old = run(plan, tmp_path)
    (weights,) = (tmp_path / "models").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    again = run(plan, tmp_path)
    assert again.log.trained
    assert again.records == old.records, "the same model came out, so its record still holds"


def test_what_cannot_run_is_skipped_with_its_reason(tmp_path):
    done = run(tiny_plan("tifgsm,fgsm", shots=[0]), tmp_path)
    assert done.ended == {"done": 1, "skipped": 1}
    skipped = next(record for record in done.records if record.cell.attack == "tifgsm")
    assert skipped.reason == "needs 3 channels, images have 1"
    assert skipped.outcome is None
    assert run(done.prepared.plan, tmp_path).ended == {"cached": 2}


def test_costs_are_counted(first):
    """2 steps of PGD on the static examples: 3 forwards and 2 backwards for 40 images, and more."""
    _, done = first
    base = done.records[0].cost
    assert base.forwards == 40 * 3
    assert base.backwards == 40 * 2
    assert base.seconds > 0


def test_seeds_train_different_models(tmp_path):
    done = run(tiny_plan(shots=[0], seeds=[0, 1]), tmp_path)
    assert len(done.log.trained) == 2
    assert done.records[0].fingerprint["weights"] != done.records[1].fingerprint["weights"]


def test_a_full_disk_stops_the_run_with_one_line(tmp_path):
    blocked = tmp_path / "results"
    blocked.write_text("a file, not a folder")
    with pytest.raises(UsageError, match=r"cannot write .*expected a writable"):
        run(tiny_plan(shots=[0]), blocked)


def test_verdicts_survive_the_disk(first):
    folder, done = first
    for record in done.records:
        read = record_of(folder, record.cell)
        assert np.array_equal(read.outcome.static.unpack(), record.outcome.static.unpack())
