"""Kept models and snapshots: what is not as it was written, or does not fit, is trained again."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from damage import edit, flip
from tiny_runs import DEFENSE, run, tiny_plan

from baselines.networks.zoo import build_network
from baselines.training import resumable_progress as courses
from baselines.training.resumable_progress import ResumableProgress
from benchmark.adaptation import step_sizes
from benchmark.artifacts import models
from benchmark.core.seeding import stream
from benchmark.results.weights import read_weights


def noted(**changes):
    return edit(lambda _, notes: notes.update({k: json.dumps(v) for k, v in changes.items()}))


DAMAGE = {
    "a bit": flip,
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "no name": edit(lambda tensors, _: tensors.pop(min(tensors))),
    "another name": edit(lambda tensors, _: tensors.update(surprise=torch.ones(1))),
    "a shape": edit(lambda t, _: t.update({min(t): t[min(t)][..., None]})),
    "a type": edit(lambda t, _: t.update({min(t): t[min(t)].double()})),
    "step sizes": edit(lambda t, _: t.update({"step_sizes/no/such": torch.ones(1)})),
    "no note": edit(lambda _, notes: notes.pop("cost")),
    "a note that is none": edit(lambda _, notes: notes.update(cost="[")),
    "a cost": noted(cost={"seconds": "long"}),
    "no number": edit(lambda _, notes: notes.update(probes='{"x": NaN}')),
    "families": noted(trained_on=3),
    "deep": edit(lambda _, notes: notes.update(probes="[" * 5000)),
    "of another": noted(model="digits-small_cnn-standard-s1"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    return folder, run(tiny_plan(), folder)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_model_that_is_not_what_it_should_be_is_trained_again_and_named(
    finished, tmp_path, damage
):
    """The records stay what they are: bit by bit the same model comes out."""
    before, done = finished
    folder = tmp_path / "results"
    shutil.copytree(before, folder)
    (path,) = (folder / "models").glob("*.safetensors")
    genuine = read_weights(path)
    DAMAGE[damage](path)
    again = run(tiny_plan(), folder)
    assert again.ended == {"cached": 2}, again.log.notes
    (note,) = again.log.notes
    assert note.startswith(f"{path}: ") and note.endswith("; trained again") and "\n" not in note
    assert len(again.log.trained) == 1
    assert again.records == done.records
    found = read_weights(path)
    assert all(torch.equal(found.tensors[name], genuine.tensors[name]) for name in genuine.tensors)
    third = run(tiny_plan(), folder)
    assert (third.log.notes, third.log.trained) == ([], []), "the good one took its place"


def test_the_model_of_another_seed_is_not_taken_for_this_one(finished, tmp_path):
    plan = tiny_plan(shots=[0], seeds=[0, 1])
    assert run(plan, tmp_path).ended == {"done": 2}
    first, second = sorted((tmp_path / "models").glob("*.safetensors"))
    shutil.copy(first, second)
    again = run(plan, tmp_path)
    assert again.ended == {"cached": 2}
    (note,) = again.log.notes
    assert note.startswith(f"{second}: ") and first.stem in note


def test_what_does_not_fit_leaves_the_network_as_it_was():
    network, other = (
        build_network("small_cnn", (1, 8, 8), 10, stream("network", seed)) for seed in (0, 1)
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    name, parameter = next(iter(other.named_parameters()))
    step_sizes.attach(other, {name: torch.ones_like(parameter), "no.such": torch.ones(1)})
    with pytest.raises(ValueError, match=r"no\.such"):
        step_sizes.load(network, other.state_dict())
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


# Snapshots.

SNAPSHOT = {
    "a bit": flip,
    "no model": edit(lambda t, _: [t.pop(name) for name in list(t) if name.startswith("model/")]),
    "a shape": edit(lambda t, _: t.update({min(t): t[min(t)][..., None]})),
    "an unknown key": edit(lambda t, _: t.update({"optimizer/0/surprise": torch.ones(1)})),
    "half an optimizer": edit(lambda t, _: t.pop("optimizer/0/exp_avg")),
    "a parameter too many": edit(lambda t, _: t.update({"optimizer/99/step": torch.ones(())})),
    "no stream": edit(lambda t, _: t.pop("rng")),
    "another stream": edit(lambda t, _: t.update(rng=torch.zeros(3, dtype=torch.uint8))),
    "memory of another shape": edit(lambda t, _: t.update({"memory/delta": torch.ones(2, 2)})),
    "notes": edit(lambda _, notes: notes.update(notes='{"epochs": "many"}')),
    "no notes": edit(lambda _, notes: notes.pop("notes")),
    "a count": edit(
        lambda _, notes: notes.update(notes=notes["notes"].replace('"images": ', '"images": -'))
    ),
    "of another": edit(lambda _, notes: notes.update(file="x")),
}


@pytest.mark.parametrize("damage", SNAPSHOT)
def test_a_snapshot_that_is_no_use_costs_a_line_and_a_training_from_the_begin(
    tmp_path, monkeypatch, damage
):
    defense = "free[epochs=3,replays=1]" if damage.startswith("memory") else DEFENSE
    plan = tiny_plan(defenses=defense, shots=[0])
    undisturbed = run(plan, tmp_path / "undisturbed").records
    path = interrupted(plan, tmp_path, monkeypatch)
    SNAPSHOT[damage](path)
    again = run(plan, tmp_path)
    assert again.ended == {"done": 1}, again.records[0].reason
    (note,) = again.log.notes
    assert note.startswith(f"{path}: ") and note.endswith("trained from the beginning"), note
    assert not path.exists()
    assert again.records[0].outcome == undisturbed[0].outcome
    assert again.records[0].training.updates == undisturbed[0].training.updates


def test_a_whole_snapshot_is_gone_on_from(tmp_path, monkeypatch):
    """The control: nothing is said, and nothing is done twice."""
    plan = tiny_plan(shots=[0])
    path = interrupted(plan, tmp_path, monkeypatch)
    again = run(plan, tmp_path)
    assert (again.ended, again.log.notes, path.exists()) == ({"done": 1}, [], False)


def interrupted(plan, folder, monkeypatch):
    """A training stopped after its first epoch; where it was kept."""
    keep = ResumableProgress.keep

    def once(course, *what):
        keep(course, *what)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(courses, "EVERY", 0.0)
        patch.setattr(ResumableProgress, "keep", once)
        with pytest.raises(KeyboardInterrupt):
            run(plan, folder)
    (path,) = (folder / "models").glob("*.training.safetensors")
    return path


def test_a_training_that_fails_by_itself_is_not_tried_twice(tmp_path, monkeypatch):
    tried = []

    def broken(*_):
        tried.append(1)
        raise RuntimeError("out of luck")

    monkeypatch.setattr(models, "fit_from", broken)
    done = run(tiny_plan(shots=[0]), tmp_path)
    assert (done.ended, len(tried)) == ({"failed": 1}, 1)
