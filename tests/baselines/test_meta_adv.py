"""Meta-training as a whole: its formula, its tasks, and what it leaves."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from attacks.build import build_attack, strengths_of
from baselines import meta_adv
from baselines.meta.algorithms import Learner, adapted_to, outer_gradient, outer_losses
from baselines.meta.settings import MetaSettings
from baselines.training.ledger import Ledger
from baselines.training.loop import classification_loss
from baselines.training.warm_start import start_of
from benchmark.adaptation.adapt import adapt
from benchmark.contracts.toys import conv_net
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.data import load
from benchmark.evaluation.verdicts import correct, frozen, state_hash
from benchmark.plan.matrix import make_plan
from benchmark.plan.request import Request, read_suite
from benchmark.results.records import Budget

SETTINGS = MetaSettings(
    iterations=1, tasks=1, shots=1, query=1, inner_steps=2, inner_lr=0.5, outer_lr=0.1
)  # fmt: skip


# Tasks and the whole training.


def split(n=200):
    return load.load("digits", None, False, 0).train.first(n)


def attacks():
    return [build_attack(name, strengths_of("digits")) for name in ("fgsm", "fgm_l2")]


def test_tasks_are_balanced_disjoint_and_drawn_from_the_pool():
    model, data, ledger = conv_net((1, 8, 8), 10), split(), Ledger()
    settings = replace(SETTINGS, tasks=12, shots=2, query=3)
    tasks = meta_adv.construct_adv_task_set(
        model, data, attacks(), settings, ledger, stream("tasks")
    )
    assert {task.attack.name for task in tasks} == {"fgsm", "fgm_l2"}
    assert ledger.families == {"linf-gradient", "l2-gradient"}
    for task in tasks:
        assert task.support.labels.bincount().tolist() == [2] * 10
        assert task.query.labels.bincount().tolist() == [3] * 10
        known = {image.numpy().tobytes(): index for index, image in enumerate(data.images())}
        query = {known[image.numpy().tobytes()] for image in task.query.images}
        assert len(query) == 30, "the query is clean, and every image is another one"
        near = torch.cdist(task.support.images.flatten(1), data.images().flatten(1)).argmin(dim=1)
        assert not query & set(near.tolist()), "no support image is scored"
        distances = torch.cdist(task.support.images.flatten(1), data.images().flatten(1))
        assert (distances.amin(dim=1) > 0).any(), "the support is attacked"


def test_the_outer_loss_is_its_formula():
    """L(theta', query attacked on theta') + clean_weight * L(theta', clean query)."""
    model, data = conv_net((1, 8, 8), 10), split()
    settings = replace(SETTINGS, shots=1, query=2)
    (task,) = meta_adv.construct_adv_task_set(
        model, data, attacks()[:1], settings, Ledger(), stream("formula")
    )
    learner = Learner.of(model, settings, Ledger())
    found = outer_losses(learner, [task], adapted_to(learner, [task]))[0]
    plain = deepcopy(model)
    for _ in range(settings.inner_steps):
        loss = classification_loss(plain, task.support)
        gradients = torch.autograd.grad(loss, list(plain.parameters()))
        with torch.no_grad():
            for tensor, gradient in zip(plain.parameters(), gradients, strict=True):
                tensor.sub_(settings.inner_lr * gradient)
    attacked = task.attack.perturb(
        plain, task.query.images, task.query.labels, "examples", task.streams[1]
    )
    expected = classification_loss(plain, Batch(attacked, task.query.labels))
    expected += settings.clean_weight * classification_loss(plain, task.query)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_meta_training_lowers_the_outer_loss():
    model, data = conv_net((1, 8, 8), 10), split()
    settings = replace(SETTINGS, iterations=15, tasks=2, query=3, inner_lr=0.05, outer_lr=0.01)

    def loss():
        rng = stream("held out")
        tasks = meta_adv.construct_adv_task_set(model, data, attacks(), settings, Ledger(), rng)
        learner = Learner.of(model, settings, Ledger())
        return outer_gradient(learner, tasks).mean().item()

    before, shares = loss(), []
    meta_adv.meta_train(model, data, attacks(), settings, Ledger(), shares.append, stream("train"))
    assert loss() < 0.9 * before
    assert shares == pytest.approx([(i + 1) / 15 for i in range(15)])
    assert not model.training


def test_meta_test_adapts_attacks_again_and_scores():
    model, data = conv_net((1, 8, 8), 10), split(60)
    attack, budget = attacks()[0], Budget(shots=1, steps=5, lr=0.3)
    shown, query = data.first(20).batch(), data.take(slice(20, None)).batch()
    before = state_hash(model)
    accuracy = meta_adv.meta_test(model, attack, shown, query, budget, stream("test"))
    assert state_hash(model) == before
    adapted = adapt(frozen(model), budget, lambda _: shown).model
    images = attack.perturb(
        adapted,
        query.images,
        query.labels,
        "examples",
        Streams.dealt(stream("test"), len(query.labels)),
    )
    right = correct(adapted, Batch(images, query.labels)) & correct(adapted, query)
    assert accuracy == pytest.approx(float(right.float().mean()))


def test_the_example_of_the_document_is_a_suite():
    """Its numbers, and its four stages under their names; support and query stay apart."""
    suite = read_suite("document")
    plan = make_plan(Request(), suite)
    assert suite.dataset == "cifar10"
    (defense,) = (one for one in plan.defenses.values() if isinstance(one, meta_adv.MetaAdv))
    assert (defense.inner_lr, defense.outer_lr, defense.iterations) == (0.01, 0.001, 1000)
    assert (defense.attacks, defense.task_size, defense.inner_steps) == ("fgsm", 64, 1)
    assert (defense.pool, defense.algorithm) == ("fixed", "maml")
    assert start_of(defense)[1].batch_size == 64
    stages = {"construct_adv_task_set", "meta_train", "meta_test", "inner_update"}
    assert stages <= set(meta_adv.__all__)
    budgets = {cell.budget for cell in plan.cells if cell.budget.adapts}
    assert {(budget.steps, budget.lr) for budget in budgets} == {(1, 0.01)}, "as it was trained"


def test_a_start_takes_the_place_of_the_warm_up():
    """Nothing trains before meta-training then: without iterations the weights stay."""
    for start, moves in (("pgd_at", False), ("", True)):
        defense = meta_adv.MetaAdv(start=start, warmup_epochs=1, iterations=0)
        network, shares = conv_net((1, 8, 8), 10), []
        before = state_hash(network)
        trained = defense.fit(
            network, split(), strengths_of("digits"), shares.append, stream("start")
        )
        assert (state_hash(trained.model) != before) == moves
        assert (trained.cost.updates > 0) == moves
