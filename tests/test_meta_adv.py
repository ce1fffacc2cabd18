"""Meta-training: its formula, its tasks, and the probe for a query loss without gradient."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from tiny_runs import run, tiny_plan

from attacks.strengths import build_attack, strengths_of
from baselines import meta_adv
from baselines.adaptation import adapt, inner_loop, task_loss, with_parameters
from baselines.meta_adv import MetaSettings, Task, outer_loss
from baselines.training import Ledger, classification_loss
from benchmark import datasets
from benchmark.core.records import Budget
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.evaluation import correct, frozen, state_hash
from benchmark.toys import conv_net

# A query loss without gradient: the outer gradient must depend on the query, through the inner
# loop. That is what the probe asks; it must say no to a query scored on a copy.

SETTINGS = MetaSettings(
    iterations=1, tasks=1, shots=1, query=1, inner_steps=2, inner_lr=0.5, outer_lr=0.1,
    first_order=False, clean_weight=0.5,
)  # fmt: skip


def outer_gradient(loss, query_seed, first_order=False):
    model = conv_net((1, 8, 8), 4)
    rng = stream("probe", query_seed)
    images = torch.rand(8, 1, 8, 8, generator=stream("support"))
    support = Batch(images, torch.arange(8) % 4)
    query = Batch(torch.rand(8, 1, 8, 8, generator=rng), torch.arange(8) % 4)
    task = Task(build_attack("fgsm", strengths_of("digits")), support, query)
    settings = SETTINGS._replace(first_order=first_order)
    value = loss(model, task, settings, Ledger(), rng)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def learns_from_the_query(loss):
    """Protocols A4: the outer gradient changes when the query does, and is not zero."""
    try:
        first, second = (outer_gradient(loss, seed) for seed in (1, 2))
    except RuntimeError as error:
        assert "does not require grad" in str(error), "fails for this reason and no other"
        return False
    return bool(first.norm() > 1e-6 and (first - second).norm() > 1e-6 * first.norm())


def query_on_a_copy(model, task, settings, ledger, rng):
    """Adapts, then scores a frozen copy: the loss is a number, not a function of the weights."""
    start = dict(model.named_parameters())
    adapted = inner_loop(model, start, lambda _: task.support, settings.inner_steps, 0.5, False)
    copy = with_parameters(model, {name: tensor.detach() for name, tensor in adapted.items()})
    return classification_loss(copy.requires_grad_(False), task.query)


def support_only(model, task, settings, ledger, rng):
    """Its gradient is there, but it is that of the support."""
    return task_loss(model, dict(model.named_parameters()), task.support)


def test_the_query_reaches_the_weights_through_the_inner_loop():
    assert learns_from_the_query(outer_loss)
    second, first = (outer_gradient(outer_loss, 1, first_order) for first_order in (False, True))
    assert (second - first).norm() > 1e-3 * second.norm(), "first order drops second derivatives"


@pytest.mark.parametrize("loss", [query_on_a_copy, support_only])
def test_a_query_loss_without_gradient_is_seen(loss):
    assert not learns_from_the_query(loss)


def test_meta_training_with_a_query_loss_without_gradient_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(meta_adv, "outer_loss", query_on_a_copy)
    defense = "meta_adv[warmup_epochs=1,iterations=1,tasks=1]"
    done = run(tiny_plan(defenses=defense, shots=[0]), tmp_path)
    assert done.ended == {"failed": 1}
    assert "does not require grad" in done.records[0].reason


# Tasks and the whole training.


def split(n=200):
    return datasets.load("digits", None, False, 0).train.first(n)


def attacks():
    return [build_attack(name, strengths_of("digits")) for name in ("fgsm", "fgm_l2")]


def test_tasks_are_balanced_disjoint_and_drawn_from_the_pool():
    model, data, ledger = conv_net((1, 8, 8), 10), split(), Ledger()
    settings = SETTINGS._replace(tasks=12, shots=2, query=3)
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
    settings = SETTINGS._replace(shots=1, query=2)
    (task,) = meta_adv.construct_adv_task_set(
        model, data, attacks()[:1], settings, Ledger(), stream("formula")
    )
    found = outer_loss(model, task, settings, Ledger(), stream("outer"))
    plain = deepcopy(model)
    for _ in range(settings.inner_steps):
        loss = classification_loss(plain, task.support)
        gradients = torch.autograd.grad(loss, list(plain.parameters()))
        with torch.no_grad():
            for tensor, gradient in zip(plain.parameters(), gradients, strict=True):
                tensor.sub_(settings.inner_lr * gradient)
    rng = stream("outer")
    attacked = task.attack.perturb(
        plain,
        task.query.images,
        task.query.labels,
        "examples",
        Streams.dealt(rng, len(task.query.labels)),
    )
    expected = classification_loss(plain, Batch(attacked, task.query.labels))
    expected += settings.clean_weight * classification_loss(plain, task.query)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_meta_training_lowers_the_outer_loss():
    model, data = conv_net((1, 8, 8), 10), split()
    settings = SETTINGS._replace(iterations=15, tasks=2, query=3, inner_lr=0.05, outer_lr=0.01)

    def loss():
        rng = stream("held out")
        tasks = meta_adv.construct_adv_task_set(model, data, attacks(), settings, Ledger(), rng)
        values = [outer_loss(model, task, settings, Ledger(), rng) for task in tasks]
        return torch.stack(values).mean().item()

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
