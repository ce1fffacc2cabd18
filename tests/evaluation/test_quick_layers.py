"""A quick linear layer is torch's own up to rounding, and where it does not pay bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from benchmark.core.seeding import stream
from benchmark.evaluation.cpu_layers import AVAILABLE, LEAST, QuickLinear
from benchmark.evaluation.verdicts import frozen, state_hash

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="torch here has one product only")
BATCH = 300


def layer_and_inputs(bias=True, batch=BATCH):
    rng = stream("quick", "linear")
    layer = nn.Linear(300, 200, bias=bias)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.1, 0.1, generator=rng)
    assert BATCH * layer.weight.numel() >= LEAST
    return layer, torch.randn(batch, 300, generator=rng)


def gradients(layer, inputs):
    """Of something not linear in the answers, and of those gradients once more."""
    asked = [inputs.clone().requires_grad_(), *layer.requires_grad_().parameters()]
    once = torch.autograd.grad(layer(asked[0]).square().mean(), asked, create_graph=True)
    twice = torch.autograd.grad(sum(one.sin().sum() for one in once), asked)
    return [one.detach() for one in (*once, *twice)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
def test_answers_and_gradients_are_those_of_double_precision(bias, turned):
    layer, inputs = layer_and_inputs(bias)
    quick = frozen(layer)
    assert type(quick) is QuickLinear
    assert type(layer) is nn.Linear, "the model itself is left as it is"
    assert state_hash(quick) == state_hash(layer)
    inputs = inputs.t().contiguous().t() if turned else inputs
    assert "_Product" in type(quick(inputs.clone().requires_grad_()).grad_fn).__name__
    exact = layer.double()
    assert torch.allclose(quick(inputs).double(), exact(inputs.double()), atol=1e-5)
    expected = gradients(exact, inputs.double())
    for found, double in zip(gradients(quick, inputs), expected, strict=True):
        assert (found - double).norm() < 1e-5 * double.norm()


@pytest.mark.parametrize("batch", [0, 1, 50])
def test_few_images_are_answered_bit_for_bit(batch):
    layer, inputs = layer_and_inputs(batch=batch)
    assert torch.equal(frozen(layer)(inputs), layer(inputs))


def test_asking_for_a_gradient_changes_no_bit():
    """`suspicions` compares passes with and without one."""
    layer, inputs = layer_and_inputs()
    quick = frozen(layer)
    assert torch.equal(quick(inputs), quick(inputs.clone().requires_grad_()))


@pytest.mark.parametrize("learns", ["weight", "bias"])
def test_what_does_not_learn_gets_no_gradient(learns):
    layer, inputs = layer_and_inputs()
    for one in (layer, quick := frozen(layer)):
        one.requires_grad_(False).get_parameter(learns).requires_grad_()
        one(inputs).square().sum().backward()
    found, expected = (one.get_parameter(learns).grad for one in (quick, layer))
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-3)
    assert sum(one.grad is not None for one in quick.parameters()) == 1


def test_other_kinds_of_numbers_take_the_usual_way():
    layer, inputs = layer_and_inputs()
    assert torch.equal(frozen(layer.double())(inputs.double()), layer(inputs.double()))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(frozen(layer.float())(inputs), layer(inputs))


def test_function_transforms_see_through():
    layer, inputs = layer_and_inputs()
    quick = frozen(layer)
    many = {name: torch.stack([p, 2 * p]).detach() for name, p in layer.named_parameters()}

    def slope(model):
        loss = lambda one, x: functional_call(model, one, (x,)).square().sum()  # noqa: E731
        return vmap(grad(loss, argnums=1), (0, None))(many, inputs)

    assert torch.equal(slope(quick), slope(layer))
