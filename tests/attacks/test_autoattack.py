"""The authors' AutoAttack: published settings, mathematics, and its defects contained."""

from __future__ import annotations

import logging
import pickle
import sys

import pytest
import torch
from attack_tasks import broken_by, dealt, images_for, linear_task, network
from torch import nn

from attacks.build import build_attack, strengths_of
from attacks.libraries.model_proxy import ModelProxy
from benchmark.core.streams import Streams

QUICK = "iterations=5,queries=20"
NAMES = ["autoattack", "autoattack_l2"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [4, 5, 10, 20])
def test_reaches_the_closed_form_whatever_the_number_of_classes(name, classes):
    """Left to itself the library crashes below 10 classes: it always takes 9 target classes."""
    task = linear_task("l2" if name.endswith("l2") else "linf", classes)
    broken = broken_by(f"{name}[iterations=20,queries=50]", task)
    assert torch.equal(broken, task.breakable)


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_are_the_published_settings(name):
    attack, model = build_attack(name, strengths_of("digits")), network(1)
    images, _ = images_for(model, 1)
    library = attack._library(ModelProxy(model, images.device), images, seed=7)
    assert library.attacks_to_run == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert {library.apgd.n_iter, library.apgd_targeted.n_iter, library.fab.n_iter} == {100}
    assert {library.apgd_targeted.n_target_classes, library.fab.n_target_classes} == {9}
    assert library.square.n_queries == 5000
    assert (library.apgd.n_restarts, library.square.rescale_schedule) == (1, False)
    assert (library.epsilon, library.get_seed()) == (attack.eps, 7)
    assert attack.passes == 20 * 100 + 27 * 100 + 5000


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_stays_in_the_rules_and_leaves_no_trace(name, channels, capfd):
    attack = build_attack(f"{name}[{QUICK},batch_size=2]", strengths_of("digits"))
    model = network(channels)
    images, labels = images_for(model, channels)
    kept, state = images.clone(), {k: v.clone() for k, v in model.state_dict().items()}
    random_state = torch.get_rng_state()

    first, second = (
        attack.perturb(model, images, labels, "verdict", dealt(labels, "attack")) for _ in range(2)
    )

    assert torch.equal(first, second)
    assert (first.shape, first.dtype) == (images.shape, images.dtype)
    assert ((first >= 0) & (first <= 1)).all()
    assert attack.threat.inside(images, first).all()
    assert torch.equal(images, kept)
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert capfd.readouterr() == ("", "")


class Dynamic(nn.Module):
    """Looks like a dynamic defense to the library: its forward calls a function named `grad`."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network(1)

    def grad(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(self.grad(images)).softmax(dim=1)


def test_the_checks_of_the_library_leave_nothing_behind(capfd, caplog):
    """Neither its counts of suspicious calls, nor its hand on `sys.settrace`, nor its warnings."""
    from pyautoattack import checks

    model = Dynamic().eval()
    images, labels = images_for(model, 1)
    attack = build_attack(f"autoattack[{QUICK}]", strengths_of("digits"))

    def trace(*_: object) -> None:
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        attack.perturb(model, images, labels, "verdict", dealt(labels, "attack"))
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    assert set(checks.funcs.values()) == {0}
    assert not logging.getLogger("auto-attack").disabled
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("classes", "reason"),
    [(3, "needs more than 3 classes, the data set has 3"), (4, None), (10, None)],
)
def test_too_few_classes_are_a_reason_not_a_crash(classes, reason):
    attack = build_attack("autoattack", strengths_of("digits"))
    assert attack.cannot_run((1, 8, 8), classes) == reason


def test_no_images_are_no_problem():
    attack = build_attack("autoattack", strengths_of("digits"))
    empty, labels = torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64)
    assert (
        attack.perturb(network(1), empty, labels, "verdict", Streams.named(0, "none")).shape
        == empty.shape
    )


def test_travels_between_processes():
    attack = build_attack("autoattack_l2[queries=9]", strengths_of("digits"))
    assert pickle.loads(pickle.dumps(attack)) == attack
