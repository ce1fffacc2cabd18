"""Attacks on the expectation over a model's randomness, and around a step without gradient."""

import pytest
import torch
from attack_tasks import EPS, Linear, dealt, linear_task
from torch import nn

from attacks.build import build_attack
from attacks.masked import FEW, network_behind
from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import Meter, correct, frozen, run_attack

STRENGTHS = {"linf": {"eps": EPS["linf"]}}


class Around(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network


class Quantised(Around):
    def forward(self, images):
        return self.network((images * 64).round() / 64)


class Noisy(Around):
    """Noise large enough that the gradient of one draw says little: the tanh saturates."""

    def forward(self, images):
        margin = self.network(images).diff(dim=1) + 3 * torch.randn(len(images), 1)
        return torch.cat([-margin, margin], dim=1).div(0.05).tanh()


def attacked(spec, model, task, goal="examples"):
    batch = Batch(task.images, task.labels)
    attack, meter = build_attack(spec, STRENGTHS), Meter()
    with global_state(stream("test")):
        made = run_attack(attack, model, batch, goal, meter, dealt(task.images, "masked"))
    return made.images, meter, attack


@pytest.mark.parametrize("spec", ["pgd_linf_eot[steps=5,draws=3]", "pgd_linf_bpda[steps=5]"])
def test_of_a_model_that_masks_nothing_they_are_pgd(spec):
    task = linear_task("linf", 3)
    model = frozen(task.model)
    usual = attacked("pgd_linf[steps=5]", model, task)[0]
    found, meter, attack = attacked(spec, model, task)
    assert torch.allclose(found, usual, atol=1e-6)
    looked = meter.forwards + meter.backwards - len(task.images) * attack.passes
    assert looked == (FEW if "bpda" in spec else 0)


def test_gradients_of_the_network_inside_find_the_optimum_of_a_quantised_linear_model():
    task = linear_task("linf", 3)
    model = frozen(Quantised(task.model))
    held = {
        spec: correct(model, Batch(attacked(spec, model, task)[0], task.labels))
        for spec in ("pgd_linf", "pgd_linf_bpda", "pgd_linf_bpda[at=images]")
    }
    breakable = task.breakable
    for spec in ("pgd_linf_bpda", "pgd_linf_bpda[at=images]"):
        assert (~held[spec] == breakable).float().mean() >= 0.9
    assert int(held["pgd_linf"].sum()) > int(held["pgd_linf_bpda"].sum()) + 10


def test_the_network_behind_is_the_outermost_that_is_not_the_whole():
    network = Linear(torch.ones(64), 3)
    images = torch.rand(4, 1, 8, 8)
    assert network_behind(network, images) is None
    assert network_behind(nn.Sequential(network), images) is None, "the same under another name"
    wrapped = nn.Sequential(Quantised(network))
    assert network_behind(wrapped, images) is network
    assert network_behind(nn.Sequential(network, nn.Softmax(dim=1)), images) is network
    assert not any(part._forward_hooks for part in wrapped.modules())


def test_the_mean_of_many_draws_finds_what_single_draws_do_not():
    """The slope of a saturated draw is 0; the expectation still has one."""
    task = linear_task("linf", 3)
    flat = frozen(Linear(task.model.weights, 2))
    model = frozen(Noisy(flat))
    clean = task.images
    margins = {}
    for spec in ("pgd_linf_eot[steps=5,draws=1]", "pgd_linf_eot[steps=5,draws=40]"):
        made = attacked(spec, model, task)[0]
        margins[spec] = float((flat(made) - flat(clean))[:, 0].mean())
    one, many = margins.values()
    assert many < 1.15 * one < 0, margins
