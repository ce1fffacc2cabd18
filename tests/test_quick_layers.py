"""A quick linear layer is torch's own up to rounding, and where it does not pay bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from benchmark.core.seeding import stream
from benchmark.evaluation import frozen, state_hash
from benchmark.quick_layers import AVAILABLE, LEAST, QuickLinear

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
    """Of something not linear in the answers, and of that gradient once more."""
    inputs = inputs.clone().requires_grad_()
    (once,) = torch.autograd.grad(layer(inputs).square().sum(), inputs, create_graph=True)
    return once.detach(), torch.autograd.grad(once.sin().sum(), inputs)[0]


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
        assert double.abs().max() > 0.1
        assert torch.allclose(found.double(), double, atol=1e-4)


@pytest.mark.parametrize("batch", [0, 1, 200])
def test_few_images_are_answered_bit_for_bit(batch):
    layer, inputs = layer_and_inputs(batch=batch)
    assert torch.equal(frozen(layer)(inputs), layer(inputs))


def test_asking_for_a_gradient_changes_no_bit():
    """`suspicions` compares passes with and without one."""
    layer, inputs = layer_and_inputs()
    quick = frozen(layer)
    assert torch.equal(quick(inputs), quick(inputs.clone().requires_grad_()))


def test_weights_that_learn_and_other_kinds_of_numbers_take_the_usual_way():
    layer, inputs = layer_and_inputs()
    quick = frozen(layer).requires_grad_()
    for one in (layer, quick):
        one.zero_grad()
        one(inputs).square().sum().backward()
    assert torch.equal(quick.weight.grad, layer.weight.grad)
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
