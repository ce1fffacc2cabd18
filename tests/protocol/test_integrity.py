"""Adaptation integrity: what records note, and for each rule a way to break it that must fail."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from tiny_runs import prepare, run, table, tiny_plan
from torch import nn

from benchmark.adaptation import adapt
from benchmark.core.errors import UsageError
from benchmark.core.schema import Effort
from benchmark.data import load, splits
from benchmark.evaluation.verdicts import state_hash
from benchmark.execution.loading import InputLoader
from benchmark.protocol import group as runner
from benchmark.protocol import integrity
from benchmark.protocol.defender import craft_shown, support_view
from benchmark.protocol.integrity import buffers_moved
from benchmark.results.records import Integrity, Record, Verdicts, fell
from benchmark.results.store import record_path, write_record


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Rows of 0, 1 and 2 shots, two episodes each."""
    return run(tiny_plan(shots=[0, 1, 2], steps=3), tmp_path_factory.mktemp("done"))


def test_every_record_notes_what_was_checked(done):
    for record in done.records:
        found, cell = record.outcome.integrity, record.cell
        assert found.buffers_moved == [0.0] * cell.episodes
        assert found.shared == [0] * cell.episodes
        model = done.prepared.model(cell)
        assert found.base == (model.hash, state_hash(model.network))
    zero, one, two = (record.outcome for record in done.records)
    assert zero.integrity.loss_fell is None
    for outcome in (one, two):
        falls = [after < before for before, after in outcome.support_loss]
        assert outcome.integrity.loss_fell == sum(falls) / 2
    assert zero.is_unadapted()
    assert zero.before == one.before == two.before


def test_the_share_of_episodes_whose_loss_fell_counts_no_standstill():
    assert fell([(1.0, 0.9), (1.0, 1.0), (1.0, 1.1), (2.0, 1.0)]) == 0.5


# What each episode took.


def test_adapting_takes_a_pass_each_way_for_every_image_of_every_step(done):
    """K images of each of 10 classes and as many clean ones, 3 steps; the attack ran before."""
    for shots, record in zip((1, 2), done.records[1:], strict=True):
        images = 3 * 2 * 10 * shots
        effort = Effort(forwards=images, backwards=images, images=images, updates=3)
        assert record.outcome.adaptation == [effort] * 2
    assert done.records[0].outcome.adaptation == [Effort()]


def test_simulating_the_attack_is_paid_for_by_the_defender(tmp_path):
    """PGD with 3 steps: 4 forward and 3 backward passes for each of 10 images, in 2 steps."""
    plan = tiny_plan(shots=[1], steps=2, knowledge=["simulated"])
    (record,) = run(plan, tmp_path).records
    images = 2 * 2 * 10
    attack = 2 * 10
    effort = Effort(
        forwards=images + 4 * attack, backwards=images + 3 * attack, images=images, updates=2
    )
    assert record.outcome.adaptation == [effort] * 2


def test_in_a_sequence_all_arrivals_are_paid_for(tmp_path):
    plan = tiny_plan("fgsm", sequence="fgsm,fgm_l2", shots=[1], steps=2)
    found = {
        len(record.cell.arrivals): record.outcome.adaptation[0].updates
        for record in run(plan, tmp_path).records
    }
    assert found == {1: 2, 2: 4}


# Clean examples: the control.


def test_clean_knowledge_shows_the_images_as_they_are(tmp_path):
    plan = tiny_plan(shots=[2], knowledge=["captured", "clean"])
    prepared = prepare(plan, tmp_path)
    captured, clean = sorted(plan.cells, key=lambda cell: cell.budget.knowledge)
    meter = runner.Meter()
    support = prepared.support(clean, 0).batch()
    looks = []
    for cell in (captured, clean):
        inputs = prepared.inputs(cell)
        (shown,) = craft_shown([(cell, 0)], inputs, meter)
        looks.append(support_view(cell, 0, inputs, meter, shown)({}))
    assert torch.equal(looks[1].images[:20], support.images)
    assert not torch.equal(looks[0].images[:20], support.images)
    assert torch.equal(looks[0].labels, looks[1].labels)
    assert torch.equal(looks[0].images[20:], looks[1].images[20:]), "the same rehearsal"


def test_clean_knowledge_costs_no_attack_and_is_scored_like_the_others(tmp_path):
    plan = tiny_plan(shots=[0, 1], knowledge=["clean"], steps=3)
    zero, one = run(plan, tmp_path).records
    assert str(one.cell.budget) == "k01-finetune-clean-t3-lr0.02"
    assert one.outcome.adaptation[0].passes == 2 * 3 * 20
    assert one.outcome.before == zero.outcome.before
    assert table(one.outcome.reattacked).shape == (2, 40)


# Negative controls.


def adapting(change):
    """`adapt_all` whose results `change` spoils."""

    def fake(model, budget, shows):
        return [change(model, one) for one in adapt.adapt_all(model, budget, shows)]

    return fake


def with_buffer(model, one):
    """Updates a running statistic along with the parameters."""
    name, buffer = next(iter(model.named_buffers()))
    return one._replace(parameters={**one.parameters, name: buffer + 0.25})


def in_place(model, one):
    """Adapts the trained model itself."""
    with torch.no_grad():
        next(model.parameters()).add_(0.01)
    return one


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_buffer, "adaptation changed buffers, by up to 0.25"),
        (in_place, "the trained model changed while a cell was evaluated"),
    ],
)
def test_an_adaptation_that_breaks_a_rule_fails_its_cell(tmp_path, monkeypatch, change, reason):
    monkeypatch.setattr(runner, "adapt_all", adapting(change))
    done = run(tiny_plan(), tmp_path)
    assert done.ended == {"done": 1, "failed": 1}
    assert reason in done.only(shots=1).reason
    assert done.only(shots=1).outcome is None


def test_buffers_are_looked_at_in_a_sequence_too(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "adapt_all", adapting(with_buffer))
    plan = tiny_plan("fgsm", sequence="fgsm,fgm_l2", shots=[1], steps=1)
    for record in run(plan, tmp_path).records:
        assert "adaptation changed buffers" in record.reason


def test_the_largest_change_of_any_buffer_counts():
    before, after = (nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm1d(3)) for _ in range(2))
    assert buffers_moved(before, after) == 0
    after[1].running_var[2] -= 0.5
    after[0].num_batches_tracked += 1
    assert buffers_moved(before, after) == 1
    assert buffers_moved(nn.Linear(1, 1), nn.Linear(1, 1)) == 0


@pytest.mark.parametrize("leak", ["support", "rehearsal"])
def test_scored_images_that_were_shown_fail_the_cell(tmp_path, monkeypatch, leak):
    """By where the images stand in the published data, also with the check of the draw gone."""
    whole = load.load("digits", None, False, 0)
    monkeypatch.setattr(splits, "check_disjoint", lambda *_: None)
    if leak == "support":
        genuine = splits.draw_support
        monkeypatch.setattr(splits, "draw_support", lambda _, *rest: genuine(whole.test, *rest))
    else:
        leaky = load.load("digits", None, False, 0)
        object.__setattr__(leaky, "train", splits.join([leaky.train, leaky.test.first(3)]))
        monkeypatch.setattr(InputLoader, "_read", lambda *_: leaky)
    done = run(tiny_plan(limit=397), tmp_path)
    assert done.ended == {"done": 1, "failed": 1}
    assert "scored images were shown in episode 0" in done.only(shots=1).reason


def flipped(verdicts):
    changed = verdicts.unpack()
    changed[0, 0] ^= True
    return Verdicts.pack(changed)


@pytest.mark.parametrize("field", ["before", "clean_before"])
def test_a_row_that_begins_elsewhere_than_the_row_of_0_shots_fails(tmp_path, field):
    plan = tiny_plan()
    first = run(plan, tmp_path)
    zero = first.only(shots=0)
    update = {field: flipped(getattr(zero.outcome, field)), "integrity": None}
    other = zero.model_copy(update={"outcome": zero.outcome.model_copy(update=update)})
    write_record(tmp_path, other)
    record_path(tmp_path, first.only(shots=1).cell).unlink()
    again = run(plan, tmp_path)
    assert again.ended == {"cached": 1, "failed": 1}
    assert "other verdicts than in its record of 0 shots" in again.only(shots=1).reason


@pytest.mark.parametrize("other", [{"versions": {"torch": "0.4"}}, {"device": "Some GPU"}])
def test_a_row_of_0_shots_made_elsewhere_is_no_reference(tmp_path, other):
    """There a logit may have been rounded the other way."""
    plan = tiny_plan()
    first = run(plan, tmp_path)
    zero, one = (first.only(shots=shots) for shots in (0, 1))
    update = {"before": flipped(zero.outcome.before), "integrity": None}
    elsewhere = zero.model_copy(
        update={
            "outcome": zero.outcome.model_copy(update=update),
            "provenance": zero.provenance.model_copy(update=other),
        }
    )
    write_record(tmp_path, elsewhere)
    record_path(tmp_path, one.cell).unlink()
    assert run(plan, tmp_path).ended == {"cached": 1, "done": 1}


def test_a_stale_row_of_0_shots_is_no_reference(tmp_path):
    plan = tiny_plan(shots=[1])
    (zero,) = tiny_plan(shots=[0]).cells
    prepared = prepare(plan, tmp_path)
    (one,) = run(plan, tmp_path).records
    assert integrity.unadapted(one.cell) == zero
    outcome = one.outcome.model_copy(update={"integrity": None})
    spoiled = outcome.model_copy(update={"before": flipped(outcome.before)})
    stale = one.model_copy(update={"cell": zero, "outcome": spoiled})
    write_record(tmp_path, stale)
    integrity.check_start(
        one.cell, outcome, prepared.inputs(one.cell)
    )  # its fingerprint is of another cell


# Records that contradict themselves are not read.


def changed(record, **values):
    """The record as JSON, with other values in its integrity."""
    content = record.model_dump(mode="json")
    content["outcome"]["integrity"].update(values)
    return content


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"buffers_moved": [0.0, 0.1]}, "buffers moved by 0.1"),
        ({"base": ["a", "b"]}, "the trained model changed, from a to b"),
        ({"shared": [0, 2]}, "2 images were both shown and scored"),
        ({"shared": [0]}, "other than the 2 episodes"),
        ({"buffers_moved": []}, "other than the 2 episodes"),
        ({"loss_fell": 0.123}, "loss_fell is 0.123"),
        ({"loss_fell": None}, "disagree on adaptation"),
        ({"loss_fell": 7}, "less than or equal to 1"),
    ],
)
def test_a_record_with_a_broken_rule_is_refused(done, values, message):
    with pytest.raises(ValidationError, match=message):
        Record.model_validate(changed(done.records[1], **values))
    assert Record.model_validate(changed(done.records[1])) == done.records[1]


@pytest.mark.parametrize("field", ["clean", "static", "reattacked", "moved"])
def test_a_row_of_0_shots_that_is_not_the_trained_model_is_refused(done, field):
    zero = done.records[0]
    content = zero.model_dump(mode="json")
    content["outcome"][field] = (
        [0.1] if field == "moved" else flipped(zero.outcome.clean).model_dump(mode="json")
    )
    with pytest.raises(ValidationError, match="not those of the trained model"):
        Record.model_validate(content)
    content["outcome"]["integrity"] = None
    Record.model_validate(content)  # a record of before it was kept


def test_integrity_alone_may_not_be_broken():
    good = {"buffers_moved": [0.0], "base": ("a", "a"), "shared": [0], "loss_fell": 1.0}
    Integrity(**good)
    for broken in ({"buffers_moved": [1e-30]}, {"base": ("a", "c")}, {"shared": [1]}):
        with pytest.raises(ValidationError):
            Integrity(**{**good, **broken})


# Too few images.


def test_a_class_without_images_to_show_is_refused_in_one_line(tmp_path, monkeypatch):
    whole = load.load("digits", None, False, 0)
    kept = (whole.validation.labels != 3).nonzero().flatten()
    object.__setattr__(whole, "validation", whole.validation.take(kept))
    monkeypatch.setattr(InputLoader, "_read", lambda *_: whole)
    with pytest.raises(UsageError, match="class 3 has no images to draw from; expected at least 1"):
        run(tiny_plan(shots=[1]), tmp_path)
    assert run(tiny_plan(shots=[0]), tmp_path).ended == {"done": 1}, "nothing is shown there"
