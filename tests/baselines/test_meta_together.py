"""Tasks adapted and attacked together: the same as one after the other, and counted."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from test_meta_learning import LR, SHAPE, gradient_of, settings_of
from torch import nn
from torch.nn.functional import cross_entropy

from attacks.build import build_attack, strengths_of
from baselines.meta import algorithms
from baselines.meta import tasks as meta_tasks
from baselines.meta.algorithms import Learner, adapted_to, meta_batches, outer_gradient
from baselines.meta.tasks import construct_adv_task_set
from baselines.training.ledger import Ledger
from benchmark.contracts.toys import conv_net
from benchmark.core import model_batch
from benchmark.core.seeding import stream
from benchmark.data import load


def test_a_simulated_support_is_attacked_anew_on_the_weights_of_each_step():
    model, settings = conv_net(SHAPE, 10), settings_of(tasks=2, shots=1, inner="simulated")
    tasks = digits_tasks(model, settings, ["fgsm"])
    many = adapted_to(Learner.of(model, settings, Ledger()), tasks)
    for index, task in enumerate(tasks):
        plain = deepcopy(model)
        optimizer = torch.optim.SGD(plain.parameters(), lr=LR)
        for _ in range(settings.inner_steps):
            images = task.attack.perturb(plain, *task.support, "examples", task.streams[0])
            optimizer.zero_grad()
            cross_entropy(plain(images), task.support.labels).backward()
            optimizer.step()
        for name, tensor in plain.named_parameters():
            assert torch.allclose(many[name][index], tensor, atol=1e-5), name


def digits_tasks(model, settings, names=("pgd_linf[steps=3]", "fgm_l2")):
    data = load.load("digits", None, False, 0).train.first(300)
    attacks = [build_attack(name, strengths_of("digits")) for name in names]
    return construct_adv_task_set(model, data, attacks, settings, Ledger(), stream("tasks"))


OPTIONS = [
    {}, {"algorithm": "fomaml"}, {"algorithm": "anil"}, {"algorithm": "reptile"},
    {"meta_sgd": True}, {"inner": "simulated"}, {"inner": "clean", "rehearse": True},
    {"pool": "fixed"}, {"task_size": 13},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_together_is_one_by_one(options, monkeypatch):
    """Losses to 1e-5 and gradients to 1e-5 of their size, attacks included."""
    model = conv_net(SHAPE, 10)
    settings = settings_of(tasks=4, shots=1, query=2, inner_lr=0.1, **options)
    tasks, calls, found = digits_tasks(model, settings), [], []
    kinds = len({task.attack for task in tasks})  # draws differ from one torch to another
    real = model_batch.vmap
    monkeypatch.setattr(model_batch, "vmap", lambda *a, **k: calls.append(1) or real(*a, **k))
    for small, alone in ((10**9, False), (0, True)):
        monkeypatch.setattr(model_batch, "SMALL", small)
        together = meta_batches(Learner.of(model, settings, Ledger()), tasks)
        assert len(together) == (4 if alone else kinds)
        calls.clear()
        found.append(gradient_of(model, tasks, settings))
        assert bool(calls) != alone
    (losses, gradients, sizes), (other_losses, others, other_sizes) = found
    assert torch.allclose(losses, other_losses, atol=1e-5)
    for one, other in ((gradients, others), (sizes, other_sizes)):
        assert all((one[n] - other[n]).norm() <= 1e-5 * other[n].norm() + 1e-7 for n in other)


def test_no_more_tasks_go_together_than_memory_allows(monkeypatch):
    model, settings = conv_net(SHAPE, 10), settings_of(tasks=5, shots=1, query=1)
    tasks = digits_tasks(model, settings, ["fgsm"])
    learner = Learner.of(model, settings, Ledger())
    size = sum(tensor.nbytes for tensor in model.parameters())
    expected = [[0, 1], [2, 3], [4]]
    together = gradient_of(model, tasks, settings)[1]
    monkeypatch.setattr(algorithms, "MOST_BYTES", 2 * size)
    assert meta_batches(learner, tasks) == expected
    parts = gradient_of(model, tasks, settings)[1]
    assert all(torch.allclose(together[name], parts[name], atol=1e-6) for name in parts)


def test_an_attack_that_does_not_ask_by_rows_meets_each_model_alone(monkeypatch):
    model, settings = conv_net(SHAPE, 10), settings_of(tasks=3, shots=1, query=2)
    tasks = digits_tasks(model, settings, ["pgd_linf[steps=3]"])
    losses, gradients, _ = gradient_of(model, tasks, settings)
    monkeypatch.setattr(type(tasks[0].attack), "by_rows", False)
    monkeypatch.setattr(meta_tasks, "ModelBatch", None)
    again, others, _ = gradient_of(model, tasks, settings)
    assert torch.allclose(losses, again, atol=1e-5)
    assert all(torch.allclose(gradients[n], others[n], atol=1e-6) for n in others)


def test_the_network_is_asked_in_its_own_mode_and_keeps_its_statistics():
    """Batch norm: running statistics of theta serve every theta', and none of them moves."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    )
    model[1].running_mean += 0.3
    before = {name: tensor.clone() for name, tensor in model.eval().named_buffers()}
    settings = settings_of(tasks=2, shots=1, query=1, inner="simulated", inner_lr=0.05)
    _, found, _ = gradient_of(model, digits_tasks(model, settings), settings)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.named_buffers())
    assert found["1.weight"].norm() > 0


def test_passes_are_counted():
    """Support 10 and query 20 images a task; PGD of 3 steps is 4 forward passes, 3 backward."""
    model, settings = conv_net(SHAPE, 10), settings_of(tasks=2, shots=1, query=2)
    tasks = digits_tasks(model, settings, ["pgd_linf[steps=3]"])
    for algorithm, back in (("maml", 3), ("fomaml", 1)):
        ledger = Ledger()
        outer_gradient(Learner.of(model, replace(settings, algorithm=algorithm), ledger), tasks)
        assert ledger.meter.forwards == 2 * (2 * 10 + 4 * 20 + 2 * 20)
        assert ledger.meter.backwards == 2 * (back * 2 * 10 + 3 * 20 + 2 * 20)
        assert ledger.families == {"linf-gradient"}
