"""The inner loop against closed forms, plain optimisers, unrolled loops and finite differences."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from baselines.networks.zoo import build_network
from benchmark.adaptation.adapt import RADIUS, adapt, adapt_all, inner_loop, inner_update, task_loss
from benchmark.adaptation.parameters import trainable
from benchmark.core.seeding import stream
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import frozen, state_hash
from benchmark.results.records import Budget

LR = 0.3


def network():
    return build_network("small_cnn", (1, 8, 8), 10, stream("adaptation"))


def batch(name, n=20, dtype=torch.float32):
    images = torch.rand(n, 1, 8, 8, generator=stream(name), dtype=torch.float64)
    return Batch(images.to(dtype), torch.arange(n) % 10)


def parameters_of(model):
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


# One quadratic loss 0.5 |A theta - b|^2, whose gradient steps are known for ever.


def quadratic(model, parameters, batch):
    return 0.5 * (batch.images @ parameters["theta"] - batch.labels).square().sum()


def problem():
    rng = stream("quadratic")
    matrix = torch.randn(6, 4, generator=rng, dtype=torch.float64)
    target = torch.randn(6, generator=rng, dtype=torch.float64)
    start = torch.randn(4, generator=rng, dtype=torch.float64)
    return matrix, target, start


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_quadratic_follows_its_closed_form(monkeypatch, steps):
    """theta_k - optimum = (I - lr A'A)^k (theta_0 - optimum)."""
    monkeypatch.setattr("benchmark.adaptation.adapt.task_loss", quadratic)
    matrix, target, start = problem()
    shown = Batch(matrix, target)
    end = inner_loop(nn.Identity(), {"theta": start}, lambda _: shown, steps, 0.05)["theta"]
    optimum = torch.linalg.lstsq(matrix, target[:, None]).solution.flatten()
    shrink = torch.linalg.matrix_power(torch.eye(4).double() - 0.05 * matrix.T @ matrix, steps)
    assert torch.allclose(end - optimum, shrink @ (start - optimum), rtol=1e-10)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_meta_gradient_of_a_quadratic_is_its_closed_form(monkeypatch, steps):
    """d theta_k / d theta_0 = (I - lr A'A)^k; first order takes it for the identity."""
    monkeypatch.setattr("benchmark.adaptation.adapt.task_loss", quadratic)
    matrix, target, start = problem()
    shown, outer = Batch(matrix, target), torch.tensor([1.0, -2.0, 3.0, 0.5]).double()
    shrink = torch.linalg.matrix_power(torch.eye(4).double() - 0.05 * matrix.T @ matrix, steps)
    for first_order, expected in ((False, shrink.T @ outer), (True, outer)):
        theta = start.clone().requires_grad_()
        end = inner_loop(
            nn.Identity(), {"theta": theta}, lambda _: shown, steps, 0.05, first_order
        )["theta"]
        (gradient,) = torch.autograd.grad(end @ outer, theta)
        assert torch.allclose(gradient, expected, rtol=1e-10)


# A network.


@pytest.mark.parametrize("steps", [1, 5])
def test_the_inner_loop_is_plain_gradient_descent(steps):
    model = network()
    end = inner_loop(model, parameters_of(model), lambda _: batch("support"), steps, LR)
    plain = deepcopy(model)
    optimizer = torch.optim.SGD(plain.parameters(), lr=LR)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(plain(batch("support").images), batch("support").labels).backward()
        optimizer.step()
    for name, tensor in plain.named_parameters():
        assert torch.allclose(end[name], tensor, atol=1e-6), name


def meta_loss(model, parameters, steps, first_order=False):
    support, query = (batch(name, dtype=torch.float64) for name in ("support", "query"))
    end = inner_loop(model, parameters, lambda _: support, steps, LR, first_order)
    return task_loss(model, end, query)


def meta_gradient(model, steps, first_order=False):
    start = {name: tensor.requires_grad_() for name, tensor in parameters_of(model).items()}
    loss = meta_loss(model, start, steps, first_order)
    return dict(zip(start, torch.autograd.grad(loss, list(start.values())), strict=True))


def smooth_network():
    """No ReLU: finite differences mean little at a kink."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10)).double()
    for name, tensor in model.named_parameters():
        draw = torch.randn(tensor.shape, generator=stream("smooth", name), dtype=torch.float64)
        tensor.data = 0.2 * draw
    return model


@pytest.mark.parametrize("steps", [1, 3])
def test_the_meta_gradient_agrees_with_finite_differences(steps):
    model = smooth_network()
    gradient, start = meta_gradient(model, steps), parameters_of(model)
    for draw in range(3):
        rng = stream("direction", draw)
        direction = {
            name: torch.randn(tensor.shape, generator=rng, dtype=torch.float64)
            for name, tensor in start.items()
        }
        size = 1e-6
        ahead, behind = (
            float(meta_loss(model, {k: start[k] + sign * direction[k] for k in start}, steps))
            for sign in (size, -size)
        )
        slope = sum(float((gradient[name] * direction[name]).sum()) for name in start)
        assert slope == pytest.approx((ahead - behind) / (2 * size), rel=1e-5)


def test_the_meta_gradient_agrees_with_an_unrolled_loop():
    model = network().double()
    theta = list(parameters_of(model).values())
    for tensor in theta:
        tensor.requires_grad_()
    names = [name for name, _ in model.named_parameters()]
    support, query = (batch(name, dtype=torch.float64) for name in ("support", "query"))

    def loss(tensors, shown):
        parameters = dict(zip(names, tensors, strict=True))
        logits = torch.func.functional_call(model, parameters, (shown.images,))
        return cross_entropy(logits, shown.labels)

    current = theta
    for _ in range(2):
        gradients = torch.autograd.grad(loss(current, support), current, create_graph=True)
        current = [tensor - LR * g for tensor, g in zip(current, gradients, strict=True)]
    expected = torch.autograd.grad(loss(current, query), theta)
    for name, gradient in zip(names, expected, strict=True):
        assert torch.allclose(meta_gradient(model, 2)[name], gradient, rtol=1e-8, atol=1e-12)


def test_first_order_is_the_query_gradient_at_the_adapted_weights_and_another_one():
    model = network().double()
    support, query = (batch(name, dtype=torch.float64) for name in ("support", "query"))
    end = inner_loop(model, parameters_of(model), lambda _: support, 2, LR)
    end = {name: tensor.detach().requires_grad_() for name, tensor in end.items()}
    expected = torch.autograd.grad(task_loss(model, end, query), list(end.values()))
    first, second = (meta_gradient(model, 2, first_order) for first_order in (True, False))
    for name, gradient in zip(end, expected, strict=True):
        assert torch.allclose(first[name], gradient, rtol=1e-10)
    difference = sum((first[name] - second[name]).square().sum() for name in end) ** 0.5
    size = sum(tensor.square().sum() for tensor in second.values()) ** 0.5
    assert difference > 0.01 * size


def test_what_is_shown_may_depend_on_the_parameters_of_the_moment():
    model, seen = network(), []

    def show(parameters):
        seen.append(float(parameters["network.head.bias"].norm()))
        return batch("support")

    inner_loop(model, parameters_of(model), show, 3, LR)
    assert len(set(seen)) == 3


# Adaptation of a trained model.


def budget(method="finetune", **changes):
    return Budget(**{"shots": 1, "method": method, "steps": 3, "lr": 0.1, **changes})


CHANGES = {
    "finetune": lambda name: True,
    "head": lambda name: name.startswith("network.head."),
    "norm": lambda name: name.split(".")[2] == "2",
}


@pytest.mark.parametrize("method", CHANGES)
def test_a_method_changes_its_parameters_and_no_others(method):
    model = frozen(network())
    adapted = adapt(model, budget(method), lambda _: batch("support"))
    before, after = model.state_dict(), adapted.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    expected = {name for name, _ in model.named_parameters() if CHANGES[method](name)}
    assert changed == expected == set(trainable(model, method, batch("support").images))
    assert 0 < len(expected) <= len(before)


@pytest.mark.parametrize("method", CHANGES)
def test_the_trained_model_is_untouched(method):
    model = frozen(network())
    before = state_hash(model)
    first = adapt(model, budget(method), lambda _: batch("support"))
    second = adapt(model, budget(method), lambda _: batch("support"))
    assert state_hash(model) == before != state_hash(first.model) == state_hash(second.model)
    assert not any(module.training for module in (*model.modules(), *first.model.modules()))
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    "changes", [{"shots": 0}, {"steps": 0}, {"method": "none"}], ids=lambda c: next(iter(c))
)
def test_nothing_to_adapt_with_is_the_identity(changes):
    def show(parameters):
        raise AssertionError("the defender looked at something")

    model = frozen(network())
    adapted = adapt(model, budget(**changes), show)
    assert adapted.model is model
    assert adapted.moved == 0
    assert adapted.support_loss == (0, 0)


def test_distance_and_losses_are_what_they_say():
    model = frozen(network())
    adapted = adapt(model, budget("head"), lambda _: batch("support"))
    before = torch.cat([p.flatten() for p in model.parameters()]).double()
    after = torch.cat([p.flatten() for p in adapted.model.parameters()]).double()
    assert adapted.moved == pytest.approx(float((after - before).norm() / before.norm()), rel=1e-6)
    shown = batch("support")
    losses = [float(cross_entropy(m(shown.images), shown.labels)) for m in (model, adapted.model)]
    assert adapted.support_loss == pytest.approx(losses)
    assert losses[1] < losses[0]


def test_statistics_of_batch_norm_stay():
    """Adaptation is evaluation: what the defender is shown may not leak through running means."""
    model = frozen(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 10))
    )
    adapted = adapt(model, budget(), lambda _: batch("support"))
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(model.state_dict()[name], adapted.model.state_dict()[name])
    assert trainable(model, "norm", batch("support").images) == ["1.weight", "1.bias"]
    assert trainable(model, "head", batch("support").images) == ["3.weight", "3.bias"]


def test_inner_update_is_one_step():
    model = network()
    start = parameters_of(model)
    one = inner_update(model, start, batch("support"), LR, first_order=True)
    loop = inner_loop(model, start, lambda _: batch("support"), 1, LR)
    assert all(torch.equal(one[name], loop[name]) for name in start)


@pytest.mark.parametrize("rows", [1, 3])
def test_a_trust_region_holds_adapted_weights_and_stops_on_its_edge(rows):
    model = frozen(network())
    shows = [lambda _, name=name: batch(name) for name in ("one", "two", "three")[:rows]]
    free = adapt_all(model, Budget(shots=1, steps=5, lr=LR), shows)
    kept = adapt_all(model, Budget(shots=1, method="trust", steps=5, lr=LR), shows)
    assert min(one.moved for one in free) > 2 * RADIUS
    assert [one.moved for one in kept] == pytest.approx([RADIUS] * rows, rel=1e-3)


def test_a_step_inside_the_trust_region_is_that_of_finetuning():
    model = frozen(network())
    free, kept = (
        adapt(model, Budget(shots=1, method=method, steps=1, lr=1e-4), lambda _: batch("small"))
        for method in ("finetune", "trust")
    )
    assert 0 < free.moved < RADIUS
    for name, tensor in free.parameters.items():
        assert torch.equal(tensor, kept.parameters[name])
