"""Attacks shown one after another, and others scored: against a loop of a few lines."""

from __future__ import annotations

import pytest
import torch
from tiny_runs import Run, run, table, tiny_plan

from attacks.build import build_attack, strengths_of
from benchmark.adaptation.adapt import adapt, with_parameters
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.data.splits import draw_support, minibatches
from benchmark.protocol import group as runner
from benchmark.results.records import Cell
from benchmark.results.store import read_records, record_path

ORDER = ("fgsm", "fgm_l2", "pgd_linf[steps=3]")
NAMES = ",".join(ORDER)


@pytest.fixture(scope="module")
def sequence(tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("sequence")
    return run(tiny_plan(NAMES, sequence=NAMES, shots=[0, 1, 2]), folder)


@pytest.fixture(scope="module")
def each(tmp_path_factory) -> Run:
    return run(tiny_plan(NAMES, shown="each"), tmp_path_factory.mktemp("each"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Run:
    return run(tiny_plan(NAMES), tmp_path_factory.mktemp("plain"))


def by_cell(done: Run, **budget):
    """Records by what was shown and what was scored."""
    return {
        (record.cell.arrivals if record.cell.budget.adapts else (), record.cell.attack): record
        for record in done.records
        if all(getattr(record.cell.budget, key) == value for key, value in budget.items())
    }


# Which cells.


def test_each_shown_attack_meets_each_scored_one_once(each):
    assert set(by_cell(each)) == {((), name) for name in ORDER} | {
        ((shown,), name) for shown in ORDER for name in ORDER
    }
    assert len(each.records) == 12
    assert {record.status for record in each.records} == {"done"}


def test_a_sequence_scores_every_attack_after_every_arrival(sequence):
    stages = [ORDER[:stage] for stage in range(4)]
    assert set(by_cell(sequence, shots=2)) == {
        (stage, name) for stage in stages[1:] for name in ORDER
    }
    assert set(by_cell(sequence, shots=0)) == {((), name) for name in ORDER}


# Names on disk.


def test_cells_that_differ_in_what_is_shown_or_scored_have_their_own_files(sequence, tmp_path):
    cells = sequence.prepared.plan.cells
    chosen = [cell.model_copy(update={"split": "validation"}) for cell in cells]
    paths = {record_path(tmp_path, cell) for cell in (*cells, *chosen)}
    assert len(paths) == 2 * len(cells)
    assert all(tmp_path in path.resolve().parents for path in paths)
    evil = cells[0].model_copy(update={"shown": ("../../x", "/etc")})
    assert (tmp_path / "records") in record_path(tmp_path, evil).resolve().parents
    assert len(read_records(sequence.prepared.settings.results).records) == len(cells)
    assert {str(cell) for cell in cells if cell.shown == ORDER[:2]} >= {
        "digits/small_cnn/standard[epochs=2]/s0/fgsm/k01-finetune-captured-t10-lr0.02"
        " after fgsm, fgm_l2"
    }


# One and the same where they must be.


def test_shown_itself_is_the_plain_cell_to_the_bit(plain, each, tmp_path):
    """The cell that says so in so many words, too, though plans do not make it."""
    matrix = by_cell(each)
    for key, record in by_cell(plain).items():
        assert matrix[key].outcome == record.outcome
    plan = tiny_plan("fgsm")
    said = [
        cell.model_copy(update={"shown": ("fgsm",)}) for cell in plan.cells if cell.budget.adapts
    ]
    (record,) = run(plan.model_copy(update={"cells": said}), tmp_path).records
    assert record.outcome == by_cell(plain)[("fgsm",), "fgsm"].outcome


def test_the_first_arrival_of_a_sequence_is_shown_alone(sequence, each):
    first, matrix = by_cell(sequence, shots=1), by_cell(each)
    for name in ORDER:
        one, other = (found[ORDER[:1], name].outcome for found in (first, matrix))
        same = {"clean_before", "before", "clean", "static", "reattacked"}
        assert one.model_dump(include=same) == other.model_dump(include=same)


def test_the_trained_model_meets_stored_examples_that_nothing_shown_changes(each):
    for name in ORDER:
        befores = {
            record.outcome.before.bits for (_, scored), record in by_cell(each).items()
            if scored == name
        }  # fmt: skip
        assert len(befores) == 1


def test_records_speak_of_the_scored_attack_and_say_what_was_shown(sequence):
    record = by_cell(sequence, shots=1)[ORDER, "fgm_l2"]
    assert record.family == "l2-gradient"
    assert record.families_shown == ["linf-gradient", "l2-gradient", "linf-gradient"]
    assert record.provenance.shown_options.keys() == set(ORDER)
    assert by_cell(sequence, shots=0)[(), "fgsm"].families_shown == []


# Against a plain loop.


def independently(done: Run, cell: Cell, episode: int) -> list[torch.nn.Module]:
    """The models after 0, 1, 2 ... arrivals, by hand."""
    prepared, strengths = done.prepared, strengths_of("digits")
    dataset, models = prepared.dataset(cell), [prepared.model(cell).network]
    for stage, name in enumerate(cell.shown):
        attack, more = build_attack(name, strengths), ("stage", stage) if stage else ()
        rng = stream("support", "digits", 0, episode, *more)
        support = draw_support(dataset.validation, cell.budget.shots, 10, rng).batch()
        if stage:
            streams = Streams.named(len(support.labels), "attack", "shown", name, 0, episode, *more)
            images = attack.perturb(models[-1], *support, "examples", streams)
        else:  # the pool that all shots share
            pool = draw_support(
                dataset.validation, 10, 10, stream("support", "digits", 0, episode)
            ).batch()
            streams = Streams.named(100, "attack", "shown", name, 0, episode)
            images = attack.perturb(models[-1], *pool, "examples", streams)[: len(support.labels)]
        clean = stream("adapt", "digits", 0, episode, *more)

        def show(parameters, images=images, support=support, clean=clean):
            beside = next(iter(minibatches(dataset.train, len(support.labels), clean)))
            return Batch(
                torch.cat([images, beside.images]), torch.cat([support.labels, beside.labels])
            )

        models.append(adapt(models[-1], cell.budget, show).model)
    return models


def verdicts_by_hand(done: Run, cell: Cell, episode: int, model, static: bool = False):
    attack, query = build_attack(cell.attack, strengths_of("digits")), done.prepared.query(cell)
    words = ("static", cell.attack, 0) if static else ("again", cell.attack, 0, episode)
    target = done.prepared.model(cell).network if static else model
    streams = Streams.named(len(query.labels), "attack", *words)
    images = attack.perturb(target, *query, "examples", streams)
    correct = model(query.images).argmax(1) == query.labels
    return (correct & (model(images).argmax(1) == query.labels)).tolist()


def test_each_stage_goes_on_from_the_last(sequence):
    cell = by_cell(sequence, shots=2)[ORDER, "fgm_l2"].cell
    for episode in range(2):
        models = independently(sequence, cell, episode)
        for stage in range(2, 4):
            record = by_cell(sequence, shots=2)[ORDER[:stage], "fgm_l2"]
            again = table(record.outcome.reattacked)[episode].tolist()
            assert again == verdicts_by_hand(sequence, cell, episode, models[stage])
            size = sum(float(p.double().square().sum()) for p in models[0].parameters()) ** 0.5
            pairs = zip(models[0].parameters(), models[stage].parameters(), strict=True)
            moved = sum(float((a - b).double().square().sum()) for a, b in pairs) ** 0.5
            assert record.outcome.moved[episode] == pytest.approx(moved / size, rel=1e-4)


def test_the_scored_attack_is_the_one_that_attacks(each):
    cell = by_cell(each)[("fgsm",), "pgd_linf[steps=3]"].cell
    model = independently(each, cell, 1)[-1]
    outcome = by_cell(each)[("fgsm",), "pgd_linf[steps=3]"].outcome
    assert table(outcome.reattacked)[1].tolist() == verdicts_by_hand(each, cell, 1, model)
    static = table(outcome.static)[1] & table(outcome.clean)[1]
    assert static.tolist() == verdicts_by_hand(each, cell, 1, model, static=True)
    wrong = cell.model_copy(update={"attack": "fgm_l2"})
    assert table(outcome.reattacked)[1].tolist() != verdicts_by_hand(each, wrong, 1, model)


# Negative controls.


def test_a_stage_that_changes_nothing_fails_its_cells(tmp_path, monkeypatch):
    genuine = runner.adapt_all

    def stuck(model, budget, shows):
        adapted = genuine(model, budget, shows)
        if len(shows) > 1:
            return adapted
        kept = {
            name: dict(model.named_parameters())[name].detach() for name in adapted[0].parameters
        }
        return [adapted[0]._replace(parameters=kept)]

    monkeypatch.setattr(runner, "adapt_all", stuck)
    done = run(tiny_plan("fgsm", sequence="fgsm,fgm_l2"), tmp_path)
    assert [record.status for record in done.records] == ["done", "done", "failed"]
    assert "adaptation changed nothing" in done.records[-1].reason


def test_a_shown_attack_that_cannot_run_skips_what_is_scored_after_it(tmp_path):
    done = run(tiny_plan("fgsm", shown="tifgsm", shots=[1]), tmp_path)
    (record,) = done.records
    assert record.status == "skipped"
    assert record.reason == "tifgsm, which is shown, cannot run: needs 3 channels, images have 1"


def test_other_options_of_what_is_shown_make_a_record_stale(tmp_path):
    from attacks.gradient import PGDLinf

    plan = tiny_plan("fgsm", shown="pgd_linf", shots=[1])
    for steps, ended in ((2, "done"), (2, "cached"), (3, "done")):
        attacks = {**plan.attacks, "pgd_linf": PGDLinf(0.1, steps=steps)}
        done = run(plan.model_copy(update={"attacks": attacks}), tmp_path)
        assert done.ended == {ended: 1}
    assert any("attacks shown changed" in note for note in done.log.notes)


def test_a_model_is_adapted_once_for_all_scored_attacks(tmp_path, monkeypatch):
    calls, genuine = [], runner.adapt_all

    def count(model, budget, shows):
        calls.append(len(shows))
        return genuine(model, budget, shows)

    monkeypatch.setattr(runner, "adapt_all", count)
    run(tiny_plan(NAMES, shown="each"), tmp_path)
    assert calls == [2, 2, 2], "three attacks, two episodes each"


def test_images_are_drawn_anew_for_each_arrival(sequence):
    prepared, cell = sequence.prepared, sequence.prepared.plan.cells[-1]
    first, second = (set(prepared.support(cell, 0, stage).ids.tolist()) for stage in (0, 1))
    assert first != second
    one = cell.model_copy(update={"budget": cell.budget.model_copy(update={"shots": 1})})
    assert set(prepared.support(one, 0, 1).ids.tolist()) < second, "one shot is inside two"


def test_simulated_knowledge_attacks_the_model_of_the_moment(tmp_path):
    plan = tiny_plan("fgsm", sequence="fgsm,fgm_l2", shots=[1], knowledge=["simulated"], steps=2)
    done = run(plan, tmp_path)
    assert done.ended == {"done": 2}
    cell = done.records[-1].cell
    network = done.prepared.model(cell).network
    for stage, name in enumerate(cell.shown):
        attack, more = build_attack(name, strengths_of("digits")), ("stage", stage) if stage else ()
        support = done.prepared.support(cell, 0, stage).batch()
        streams = Streams.named(10, "attack", "simulated", name, 0, 0, *more)
        clean, start = stream("adapt", "digits", 0, 0, *more), network

        def show(
            parameters, attack=attack, support=support, streams=streams, clean=clean, start=start
        ):
            model = with_parameters(start, parameters).requires_grad_(False)
            with torch.enable_grad():
                images = attack.perturb(model, *support, "examples", streams)
            beside = next(iter(minibatches(done.prepared.dataset(cell).train, 10, clean)))
            return Batch(
                torch.cat([images, beside.images]), torch.cat([support.labels, beside.labels])
            )

        network = adapt(network, cell.budget, show).model
    again = table(done.records[-1].outcome.reattacked)[0].tolist()
    assert again == verdicts_by_hand(done, cell, 0, network)
