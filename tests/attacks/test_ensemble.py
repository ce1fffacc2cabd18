"""AutoAttack through our engine: closed forms, its authors' code, goals, batches, precision."""

from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from attack_tasks import broken_by, dealt, linear_task
from torch import nn

from attacks import ATTACKS
from attacks.autoattack.autoattack import AutoAttackL2, AutoAttackLinf
from attacks.autoattack.stage import Stage
from attacks.build import build_attack, strengths_of
from attacks.engine.search import Search
from benchmark.contracts.toys import conv_net, some_images
from benchmark.core.model_batch import ModelBatch
from benchmark.core.seeding import stream
from benchmark.core.specs import options_of
from benchmark.core.types import Batch
from benchmark.evaluation.precision import LowPrecision
from benchmark.evaluation.verdicts import Meter, correct, run_attack

CUT = {"iterations": 5, "targets": 3, "queries": 120}
ENSEMBLES = {"linf": AutoAttackLinf, "l2": AutoAttackL2}
EPS = {"linf": 0.02, "l2": 0.12, "l1": 0.6}
NAMES = [name for name in ATTACKS.names() if issubclass(ATTACKS.get(name), Stage)]


def cut(name):
    """An attack of the ensemble with as few steps as a test needs."""
    attack = build_attack(name, {norm: {"eps": eps} for norm, eps in EPS.items()})
    shorter = CUT | {"steps": CUT["iterations"]}
    return replace(attack, **{k: v for k, v in shorter.items() if k in options_of(type(attack))})


def task(n=60, wrong=0):
    model = conv_net((1, 8, 8), 10)
    return model, some_images(model, (1, 8, 8), n, wrong)


def broken(attack, model, batch, goal="verdict", rng=None):
    rng = rng or dealt(batch.labels, "ensemble")
    images = run_attack(attack, model, batch, goal, Meter(), rng).images
    return ~correct(model, Batch(images, batch.labels))


@pytest.mark.parametrize("name", ["aa_linf", "aa_l2"])
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 10, 20])
def test_reaches_the_closed_form_whatever_the_number_of_classes(name, classes):
    task = linear_task("l2" if name.endswith("l2") else "linf", classes)
    assert torch.equal(broken_by(f"{name}[iterations=20,queries=50]", task), task.breakable)


@pytest.mark.parametrize("name", ["aa_apgd_ce", "aa_apgd_t", "aa_fab_t"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_each_part_alone_reaches_it(name, norm, classes):
    task = linear_task(norm, classes)
    name = name if norm == "linf" else f"{name}_l2"
    assert torch.equal(broken_by(f"{name}[iterations=40]", task), task.breakable)


def test_the_defaults_are_the_published_settings():
    attack = build_attack("aa_linf", strengths_of("cifar10"))
    parts = {part.name: part for part in attack.parts()}
    assert list(parts) == ["aa_apgd_ce", "aa_apgd_t", "aa_fab_t", "aa_square"]
    assert {part.eps for part in parts.values()} == {8 / 255}
    assert {parts[name].iterations for name in list(parts)[:3]} == {100}
    assert {parts[name].targets for name in ("aa_apgd_t", "aa_fab_t")} == {9}
    assert parts["aa_square"].queries == 5000
    assert attack.passes == 202 + 9 * 202 + 1 + 2700 + 1 + 5001


@pytest.mark.parametrize("name", NAMES)
def test_both_goals_break_the_same_images(name):
    model, batch = task(wrong=5)
    attack = cut(name)
    found = [broken(attack, model, batch, goal) for goal in ("examples", "verdict")]
    assert torch.equal(*found)
    assert 5 < int(found[0].sum()) < 60, "some broken, some not: or the test says nothing"


@pytest.mark.parametrize("name", NAMES)
def test_a_verdict_does_not_depend_on_the_batch(name):
    model, batch = task(28)
    rng, attack = dealt(batch.labels, "batches"), cut(name)
    together = broken(attack, model, batch, rng=rng)
    for size in (1, 7):
        apart = [
            broken(attack, model, Batch(*(x[rows] for x in batch)), rng=rng.take(rows))
            for rows in torch.arange(28).split(size)
        ]
        assert torch.equal(torch.cat(apart), together)
    assert together.any() and not together.all()


@pytest.mark.parametrize("name", ["aa_linf", "aa_l2"])
def test_adapted_models_are_attacked_together_as_alone(name):
    """Three models, 20 rows each, in one batch."""
    model, batch = task(20)
    noise = stream("adapted")
    adapted = [
        {key: value + 0.1 * torch.randn(value.shape, generator=noise) * value.abs().mean()
         for key, value in model.named_parameters()}
        for _ in range(3)
    ]  # fmt: skip
    rng, attack = dealt(range(60), "together"), cut(name)
    with torch.no_grad():
        together = ModelBatch.of(model, adapted, 20)
        found = broken(attack, together, batch.repeat(3), rng=rng)
        for index, rows in enumerate(torch.arange(60).split(20)):
            alone = ModelBatch.of(model, adapted[index : index + 1], 20)
            assert torch.equal(broken(attack, alone, batch, rng=rng.take(rows)), found[rows])
    assert 5 < int(found.sum()) < 60


def test_the_same_images_as_the_authors_code():
    """On a network, with the same cuts: to an image or two, which float rounding decides."""
    pytest.importorskip("pyautoattack")
    model, batch = task(100)
    for norm in ("linf", "l2"):
        theirs = {"linf": "autoattack", "l2": "autoattack_l2"}[norm]
        reference = build_attack(f"{theirs}[iterations=10,queries=60]", {norm: {"eps": EPS[norm]}})
        attack = ENSEMBLES[norm](EPS[norm], iterations=10, queries=60)
        found, expected = (broken(one, model, batch) for one in (attack, reference))
        assert 10 < int(expected.sum()) < 90
        assert int((found ^ expected).sum()) <= 2


def test_what_one_part_breaks_the_next_leaves_alone(monkeypatch):
    model, batch = task()
    seen = []

    def watched(attack):
        def note(self, search, rng):
            before, fallen = search.best.clone(), search.broken.clone()
            seen.append(search.standing().tolist())
            attack(self, search, rng)
            assert torch.equal(search.best[fallen], before[fallen])

        return note

    for kind in {type(part) for part in AutoAttackLinf(0.05, **CUT).parts()}:
        monkeypatch.setattr(kind, "attack", watched(kind.attack))
    AutoAttackLinf(0.05, **CUT).perturb(model, *batch, "examples", dealt(batch.labels, "parts"))
    assert len(seen) == 4
    assert all(set(after) <= set(before) for before, after in pairwise(seen))


class Claims(nn.Module):
    """A stand-in for low precision: calls everything misclassified."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return -self.model(images)


@pytest.mark.parametrize("name", NAMES)
def test_no_success_counts_before_float32_says_so(name):
    model, batch = task()
    claims = LowPrecision(model, Claims(model), nn.Identity())
    attack = cut(name)
    search = Search(claims, *batch, "verdict")
    attack.attack(search, dealt(batch.labels, "claims"))
    assert torch.equal(search.broken, model(search.best).argmax(dim=1) != batch.labels)
    assert not search.broken.all()


def test_travels_between_processes():
    attack = build_attack("aa_l2[queries=9]", strengths_of("digits"))
    assert pickle.loads(pickle.dumps(attack)) == attack
