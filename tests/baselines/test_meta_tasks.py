"""The task pool: which attacks, how strong, which images; and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from attacks.build import build_attack, strengths_of
from baselines import DEFENSES
from baselines.meta import loop
from baselines.meta.loop import meta_train
from baselines.meta.settings import MetaSettings
from baselines.meta.task_pool import attacks_of, check_pool, fixed_pool
from baselines.meta.tasks import construct_adv_task_set
from baselines.training.ledger import Ledger
from benchmark.contracts.toys import conv_net
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.specs import Spec
from benchmark.core.types import Split
from benchmark.data import load
from benchmark.evaluation.verdicts import frozen

SMALL = MetaSettings(tasks=2, shots=1, query=2, inner_steps=2)


def split(n=200):
    return load.load("digits", None, False, 0).train.first(n)


def attacks(*names):
    return [build_attack(name, strengths_of("digits")) for name in names]


def pool(dataset="digits", **options):
    return attacks_of(MetaSettings(**options), strengths_of(dataset))


def tasks_of(settings, model=None, names=("fgsm",), seed=0):
    model = model or conv_net((1, 8, 8), 10)
    return construct_adv_task_set(
        model, split(), attacks(*names), settings, Ledger(), stream("tasks", seed)
    )


def places_of(batch):
    """Where each image stands in the split; -1 for one that is not a clean image of it."""
    known = {image.numpy().tobytes(): place for place, image in enumerate(split().images())}
    return [known.get(image.numpy().tobytes(), -1) for image in batch.images.flatten(0, -4)]


def test_tasks_are_of_attacks_at_the_strengths_of_the_data():
    found = pool(attacks="pgd_linf+fgm_l2", attack_steps=3)
    assert [(a.name, a.eps) for a in found] == [("pgd_linf", 0.15), ("fgm_l2", 0.6)]
    assert {a.steps for a in found if a.name == "pgd_linf"} == {3}


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_a_family_is_a_cheap_set_of_ours(dataset):
    for family in ("linf-gradient", "l2-gradient", "l1-gradient", "spatial", "noise"):
        found = pool(dataset, attacks=f"family:{family}")
        assert found and {attack.family for attack in found} == {family}
        assert {attack.origin for attack in found} == {"reattack"}
        assert max(attack.passes for attack in found) <= 100
    both = pool(dataset, attacks="fgsm+family:linf-gradient")
    assert len(both) == len(set(both)), "each task attack once"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("attacks=pgd", "unknown attack 'pgd'"),
        ("attacks=family:linf", "unknown family of attacks 'linf'"),
        (
            "attacks=family:score-based",
            "attacks of ours of at most 100 passes an image, got none",
        ),
        ("attacks=universal", "nobody can train on it"),
        ("strengths=2", "unknown option of meta_adv 'strengths'"),
        ("algorithm=reptile,meta_sgd=true", "reptile has no gradient for step sizes"),
        ("meta_sgd=true,inner_lr=0", "step sizes are positive"),
        ("algorithm=mamal", "expected one of maml, fomaml, reptile, anil, got 'mamal'"),
        ("tasks=-1", "tasks=-1]: expected at least 0"),
    ],
)
def test_wrong_options_are_named(options, expected):
    with pytest.raises(UsageError) as error:
        defense = DEFENSES.build(Spec.parse(f"meta_adv[{options}]"))
        defense.training_attacks(strengths_of("digits"))
    assert expected in str(error.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"shots": 15, "query": 10}, "shots=15 and query=10 need 25 images, class 2 has 17"),
        ({"task_size": 101}, "task_size=101 need 202 images, the training split has 200"),
        ({"pool": "fixed", "tasks": 9, "pool_size": 8}, "tasks=9: a fixed pool has pool_size=8"),
    ],
)
def test_tasks_that_the_split_cannot_fill(options, expected):
    with pytest.raises(UsageError) as error:
        check_pool(split(), 10, replace(SMALL, **options))
    assert expected in str(error.value)


@pytest.mark.parametrize("missing", [4, 9])
def test_a_class_without_images_is_named(missing):
    """The last one too: the network says how many classes there are."""
    whole = split()
    data = whole.take((whole.labels != missing).nonzero().flatten())
    defense = DEFENSES.build(Spec.parse("meta_adv[warmup_epochs=0,iterations=1]"))
    with pytest.raises(UsageError, match=f"class {missing} has no images in the training split"):
        defense.fit(
            conv_net((1, 8, 8), 10), data, strengths_of("digits"), lambda _: None, stream("x")
        )


def test_the_support_is_what_inner_says():
    clean = [
        place
        for task in tasks_of(replace(SMALL, inner="clean"))
        for place in places_of(task.support)
    ]
    simulated = tasks_of(replace(SMALL, inner="simulated"))
    assert -1 not in clean
    assert [place for task in simulated for place in places_of(task.support)] == clean
    model = conv_net((1, 8, 8), 10)
    for task, other in zip(tasks_of(SMALL, model), simulated, strict=True):
        expected = task.attack.perturb(
            frozen(model), other.support.images, other.support.labels, "examples", other.streams[0]
        )
        assert torch.equal(task.support.images, expected)


def test_what_is_rehearsed_is_clean_new_in_each_step_and_not_scored():
    for task in tasks_of(replace(SMALL, rehearse=True, tasks=8)):
        assert task.rehearsal.labels.shape == (2, 10)
        rehearsed, query = places_of(task.rehearsal), places_of(task.query)
        assert -1 not in rehearsed and not set(rehearsed) & set(query)
        assert set(rehearsed[:10]) != set(rehearsed[10:])
        assert split().labels[rehearsed].tolist() == task.rehearsal.labels.flatten().tolist()
    assert tasks_of(SMALL)[0].rehearsal.labels.shape == (2, 0)


def test_task_size_draws_regardless_of_class():
    (task, _) = tasks_of(replace(SMALL, task_size=33, inner="clean"))
    assert len(task.support.labels) == len(task.query.labels) == 33
    drawn = places_of(task.support) + places_of(task.query)
    assert len(set(drawn)) == 66


def test_a_fixed_pool_is_crafted_once():
    """On the weights it begins with, query and support; whatever was drawn from rng before."""
    model, settings = conv_net((1, 8, 8), 10), replace(SMALL, pool="fixed", pool_size=5)
    found = []
    for draws in (0, 3):
        rng = stream("pool")
        torch.rand(draws, generator=rng)
        found.append(fixed_pool(model, split(), attacks("fgsm"), settings, Ledger(), rng))
    assert len(found[0]) == 5
    for task, again in zip(*found, strict=True):
        assert torch.equal(task.crafted, again.crafted)
        expected = task.attack.perturb(
            frozen(model), task.query.images, task.query.labels, "examples", task.streams[1]
        )
        assert torch.equal(task.crafted, expected)
    assert fixed_pool(model, split(), attacks("fgsm"), SMALL, Ledger(), stream("pool")) == []


@pytest.mark.parametrize(("pool", "passes"), [("fixed", 5 * 30 * 3), ("rebuilt", 4 * 2 * 30 * 3)])
def test_training_crafts_a_fixed_pool_once_and_a_rebuilt_one_always(pool, passes, monkeypatch):
    """30 images a task, 3 passes of FGSM each; 4 iterations of 2 tasks."""
    settings = replace(SMALL, pool=pool, pool_size=5, iterations=4, inner_steps=1)
    crafted, real = Ledger(), Ledger.perturb

    def perturb(ledger, attack, model, batch, rng):
        crafted.meter.forwards += 3 * len(batch.labels)
        return real(ledger, attack, model, batch, rng)

    monkeypatch.setattr(loop, "meta_gradient_probe", lambda *_: {})
    monkeypatch.setattr(Ledger, "perturb", perturb)
    model = conv_net((1, 8, 8), 10)
    meta_train(model, split(), attacks("fgsm"), settings, Ledger(), lambda _: None, stream("t"))
    assert crafted.meter.forwards == passes


def test_images_without_labels_of_a_split_are_never_made_up():
    empty = Split(split().raw[:0], split().labels[:0], split().ids[:0])
    with pytest.raises(UsageError, match="class 0 has no images"):
        check_pool(empty, 10, SMALL)
