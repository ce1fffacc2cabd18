"""The outer gradient of every algorithm: against plain autograd, and in one call against a loop."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from attacks.build import build_attack, strengths_of
from baselines.meta.algorithms import Learner, adapted_to, outer_gradient
from baselines.meta.settings import MetaSettings
from baselines.meta.tasks import Task
from baselines.training.ledger import Ledger
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Batch

SHAPE = (1, 8, 8)
LR = 0.3
ALGORITHMS = ("maml", "fomaml", "anil", "reptile")


def smooth_network():
    """No ReLU, float64: two ways to one gradient agree to the last digits."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10)).double()
    for name, tensor in model.named_parameters():
        draw = torch.randn(tensor.shape, generator=stream("meta", name), dtype=torch.float64)
        tensor.data = 0.2 * draw
    return model


def draw(name, *size):
    images = torch.rand(*size, *SHAPE, generator=stream(name), dtype=torch.float64)
    return Batch(images, torch.randint(10, size, generator=stream("labels", name)))


def crafted_task(index, steps=2, rehearsed=3):
    """A task of random images, its query crafted already: nothing is attacked."""
    support, query = draw(f"support {index}", 6), draw(f"query {index}", 4)
    streams = Streams.named(6, "s", index), Streams.named(4, "q", index)
    rehearsal = draw(f"rehearsal {index}", steps, rehearsed)
    attacked = draw(f"attacked {index}", 4).images
    return Task(
        build_attack("fgsm", strengths_of("digits")), support, query, rehearsal, streams, attacked
    )


def settings_of(**options):
    usual = {"inner_steps": 2, "inner_lr": LR, "clean_weight": 0.5}
    return MetaSettings(**{**usual, **options})


def gradient_of(model, tasks, settings):
    """As `meta_train` finds it, by name of the parameter; and that of the step sizes."""
    learner = Learner.of(model, settings, Ledger())
    model.zero_grad()
    losses = outer_gradient(learner, tasks)
    found = {name: tensor.grad.clone() for name, tensor in model.named_parameters()}
    sizes = {name: tensor.grad for name, tensor in learner.logarithms.items()}
    return losses, found, sizes


# Plain autograd: no torch.func, no stacking.


def plain_loss(model, tensors, task, settings):
    logits, usual = (
        functional_call(model, tensors, (x,)) for x in (task.crafted, task.query.images)
    )
    clean = settings.clean_weight * cross_entropy(usual, task.query.labels)
    return cross_entropy(logits, task.query.labels) + clean


def plain(model, tasks, settings, rates=None):
    """Mean losses and gradients, task by task and step by step."""
    theta = dict(model.named_parameters())
    head = {name for name in theta if name.startswith("3.")}
    moves = [name for name in theta if settings.algorithm != "anil" or name in head]
    losses, total = [], {name: torch.zeros_like(tensor) for name, tensor in theta.items()}
    sizes = {name: torch.zeros_like(theta[name]) for name in rates or {}}
    for task in tasks:
        now = dict(theta)
        for step in range(settings.inner_steps):
            images = torch.cat([task.support.images, task.rehearsal.images[step]])
            labels = torch.cat([task.support.labels, task.rehearsal.labels[step]])
            loss = cross_entropy(functional_call(model, now, (images,)), labels)
            slopes = torch.autograd.grad(loss, [now[name] for name in moves], create_graph=True)
            if settings.algorithm in ("fomaml", "reptile"):
                slopes = [slope.detach() for slope in slopes]
            for name, slope in zip(moves, slopes, strict=True):
                now[name] = now[name] - (rates[name] if rates else LR) * slope
        loss = plain_loss(model, now, task, settings)
        losses.append(loss.item())
        wanted = [*theta.values(), *(rates or {}).values()]
        slopes = torch.autograd.grad(loss, wanted, retain_graph=True)
        for name, slope in zip(theta, slopes, strict=False):
            way = slope
            if settings.algorithm == "reptile":
                last = now[name] - LR * torch.autograd.grad(loss, now[name], retain_graph=True)[0]
                way = theta[name] - last
            total[name] += way.detach() / len(tasks)
        for name, slope in zip(sizes, slopes[len(theta) :], strict=True):
            sizes[name] += slope / len(tasks)
    return losses, total, sizes


@pytest.mark.parametrize("rehearsed", [0, 3])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_outer_gradient_is_that_of_plain_autograd(algorithm, rehearsed):
    model, settings = smooth_network(), settings_of(algorithm=algorithm)
    tasks = [crafted_task(index, rehearsed=rehearsed) for index in range(3)]
    losses, found, _ = gradient_of(model, tasks, settings)
    expected_losses, expected, _ = plain(model, tasks, settings)
    assert losses.tolist() == pytest.approx(expected_losses, rel=1e-6)
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=1e-8, atol=1e-12), name
        assert tensor.norm() > 1e-4


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "anil"])
def test_step_sizes_have_the_gradient_of_plain_autograd(algorithm):
    """d L / d log(alpha) = alpha * d L / d alpha."""
    model, settings = smooth_network(), settings_of(algorithm=algorithm, meta_sgd=True)
    tasks = [crafted_task(index) for index in range(3)]
    _, found, sizes = gradient_of(model, tasks, settings)
    rates = {
        name: torch.full_like(tensor, LR).requires_grad_()
        for name, tensor in model.named_parameters()
        if algorithm != "anil" or name.startswith("3.")
    }
    _, expected, slopes = plain(model, tasks, settings, rates)
    assert sizes.keys() == rates.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=1e-8, atol=1e-12), name
    for name, slope in slopes.items():
        assert torch.allclose(sizes[name], LR * slope, rtol=1e-8, atol=1e-12), name
        assert slope.norm() > 1e-6


def test_maml_keeps_the_graph_of_the_inner_loop_and_first_order_drops_it():
    """Without it d theta' / d theta is the identity, exactly."""
    model, task = smooth_network(), crafted_task(0)
    weights = [torch.randn(t.shape, generator=stream("v")).double() for t in model.parameters()]
    for algorithm in ("maml", "fomaml"):
        learner = Learner.of(model, settings_of(algorithm=algorithm), Ledger())
        many = adapted_to(learner, [task])
        product = sum(
            (many[n][0] * v).sum()
            for (n, _), v in zip(model.named_parameters(), weights, strict=True)
        )
        slopes = torch.autograd.grad(product, list(model.parameters()))
        same = [torch.equal(slope, v) for slope, v in zip(slopes, weights, strict=True)]
        assert all(same) if algorithm == "fomaml" else not any(same)


def test_reptile_moves_towards_the_adapted_weights():
    """With plain descent at rate 1 it lands on their mean."""
    model, settings = smooth_network(), settings_of(algorithm="reptile")
    before = {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
    tasks = [crafted_task(index) for index in range(4)]
    _, found, _ = gradient_of(model, tasks, settings)
    ends = []
    for task in tasks:
        copy = smooth_network()
        optimizer = torch.optim.SGD(copy.parameters(), lr=LR)
        for step in range(3):
            optimizer.zero_grad()
            if step == 2:
                loss = plain_loss(copy, dict(copy.named_parameters()), task, settings)
            else:
                images = torch.cat([task.support.images, task.rehearsal.images[step]])
                labels = torch.cat([task.support.labels, task.rehearsal.labels[step]])
                loss = cross_entropy(copy(images), labels)
            loss.backward()
            optimizer.step()
        ends.append(dict(copy.named_parameters()))
    for name, tensor in before.items():
        mean = torch.stack([end[name] for end in ends]).mean(dim=0)
        assert torch.allclose(tensor - found[name], mean, atol=1e-12), name


def test_anil_adapts_the_head_and_learns_the_rest():
    model, settings = smooth_network(), settings_of(algorithm="anil")
    many = adapted_to(Learner.of(model, settings, Ledger()), [crafted_task(0)])
    assert set(many) == {"3.weight", "3.bias"}
    assert not torch.equal(many["3.weight"][0], model[3].weight)
    _, found, _ = gradient_of(model, [crafted_task(0)], settings)
    assert found["1.weight"].norm() > 1e-4
