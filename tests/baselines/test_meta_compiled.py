"""The outer gradient as one function: what the plain way finds, compiled or not."""

from __future__ import annotations

import shutil

import pytest
import torch
from test_meta_learning import ALGORITHMS, SHAPE, crafted_task, settings_of, smooth_network
from test_meta_together import OPTIONS, digits_tasks
from torch import nn

from attacks.build import build_attack, strengths_of
from baselines.meta import compiled as meta_compiled
from baselines.meta import loop
from baselines.meta.algorithms import Learner, outer_gradient
from baselines.meta.compiled import compiled_gradient
from baselines.meta.settings import MetaSettings
from baselines.training.ledger import Ledger
from benchmark.contracts.toys import conv_net
from benchmark.core.errors import AuditError, UsageError
from benchmark.core.seeding import stream
from benchmark.data import load

needs_a_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="no C++ compiler")


@pytest.fixture
def as_it_is(monkeypatch):
    """The function that would be compiled, called as it is: seconds less, the same mathematics."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)


def gradients(find, model, tasks, settings):
    """Losses, gradients of the weights and of the step sizes, and what was booked."""
    learner = Learner.of(model, settings, Ledger())
    model.zero_grad()
    losses = find(learner)(tasks)
    tensors = [*model.parameters(), *learner.logarithms.values()]
    return losses, [tensor.grad.clone() for tensor in tensors], learner.ledger.meter


def plain(learner):
    return lambda tasks: outer_gradient(learner, tasks)


def agree(model, tasks, settings, within):
    losses, found, _ = gradients(compiled_gradient, model, tasks, settings)
    expected, others, _ = gradients(plain, model, tasks, settings)
    assert torch.allclose(losses, expected, atol=within)
    for one, other in zip(found, others, strict=True):
        assert (one - other).norm() <= within * other.norm() + 1e-9


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "reptile"])
@pytest.mark.parametrize("meta_sgd", [False, True])
def test_it_is_the_plain_gradient_to_the_last_digits(algorithm, meta_sgd, as_it_is):
    tasks = [crafted_task(index) for index in range(3)]
    agree(smooth_network(), tasks, settings_of(algorithm=algorithm, meta_sgd=meta_sgd), 1e-12)


@pytest.mark.parametrize("options", [one for one in OPTIONS if "reptile" not in one.values()])
def test_so_it_is_where_queries_are_attacked(options, as_it_is):
    """Attacks of several kinds, whose tasks come back in their own order."""
    model = conv_net(SHAPE, 10)
    settings = settings_of(tasks=4, shots=1, query=2, inner_lr=0.1, **options)
    agree(model, digits_tasks(model, settings), settings, 1e-5)


def test_without_an_inner_step_it_is_joint_training(as_it_is):
    settings = settings_of(inner_steps=0)
    agree(smooth_network(), [crafted_task(0), crafted_task(1)], settings, 1e-12)


@pytest.mark.parametrize(("most", "expected"), [(2, [2, 2, 1]), (1, [1] * 5)])
def test_tasks_that_do_not_fit_go_in_several_calls(as_it_is, monkeypatch, most, expected):
    real, calls = meta_compiled._add, []
    monkeypatch.setattr(
        meta_compiled, "_add", lambda *a: calls.append(len(a[2].labels)) or real(*a)
    )
    monkeypatch.setattr(meta_compiled, "most_together", lambda *_: most)
    agree(smooth_network(), [crafted_task(index) for index in range(5)], settings_of(), 1e-12)
    assert calls == expected


def test_adapting_once_more_for_the_attack_is_booked(as_it_is):
    """Rows of the inner loop: a forward and a backward more than the plain way, no more."""
    model, settings = conv_net(SHAPE, 10), settings_of(tasks=2, shots=1, query=1)
    tasks = digits_tasks(model, settings, ["fgsm"])
    _, _, meter = gradients(compiled_gradient, model, tasks, settings)
    _, _, usual = gradients(plain, model, tasks, settings)
    rows = sum(len(task.support.labels) for task in tasks) * settings.inner_steps
    assert meter.forwards - usual.forwards == meter.backwards - usual.backwards == rows
    crafted = [crafted_task(0), crafted_task(1)]
    _, _, meter = gradients(compiled_gradient, smooth_network(), crafted, settings_of())
    _, _, usual = gradients(plain, smooth_network(), crafted, settings_of())
    assert (meter.forwards, meter.backwards) == (usual.forwards, usual.backwards)


def test_a_loss_that_is_not_finite_names_the_attack(as_it_is):
    model = smooth_network()
    model[-1].bias.data[0] = float("nan")
    with pytest.raises(AuditError, match=r"meta-loss on tasks of fgsm .* is nan"):
        gradients(compiled_gradient, model, [crafted_task(0)], settings_of())


def test_reptile_is_refused():
    with pytest.raises(UsageError, match=r"algorithm=reptile,compiled=true.*expected maml"):
        MetaSettings(algorithm="reptile", compiled=True)


@needs_a_compiler
@pytest.mark.filterwarnings("ignore")  # torch's own, while it compiles
def test_compiled_for_real():
    agree(smooth_network(), [crafted_task(0), crafted_task(1)], settings_of(meta_sgd=True), 1e-9)


@pytest.mark.filterwarnings("ignore")
def test_a_network_that_cannot_be_compiled_is_said_to_be_one():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = smooth_network()

        def forward(self, images):
            return self.inner(images) * (2 if float(images.detach().sum()) > 0 else 1)

    with pytest.raises(UsageError, match=r"cannot compile this network.*leave the option out"):
        gradients(compiled_gradient, Branching(), [crafted_task(0), crafted_task(1)], settings_of())


@pytest.mark.parametrize("compiled", [False, True])
def test_meta_training_asks_for_it(compiled, monkeypatch, as_it_is):
    asked = []
    real = loop.compiled_gradient
    monkeypatch.setattr(loop, "compiled_gradient", lambda a: asked.append(a) or real(a))
    settings = settings_of(compiled=compiled, tasks=1, iterations=1, shots=1, query=1)
    data = load.load("digits", None, False, 0).train.first(100)
    fgsm, model = build_attack("fgsm", strengths_of("digits")), conv_net(SHAPE, 10)
    before = [tensor.detach().clone() for tensor in model.parameters()]
    rest = (settings, Ledger(), lambda *_: None, stream("compiled"))
    loop.meta_train(model, data, [fgsm], *rest)
    assert bool(asked) == compiled
    assert not any(map(torch.equal, before, model.parameters()))
