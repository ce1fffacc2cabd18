"""The quick gradient is torch's own, and where it does not apply torch's own is taken."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from benchmark.core.seeding import stream
from benchmark.evaluation.quick_convolution import QuickConv2d
from benchmark.evaluation.verdicts import frozen, state_hash

QUICK = {
    "one channel in": nn.Conv2d(1, 32, 3, padding=1),
    "stride 2": nn.Conv2d(3, 8, 3, 2, padding=1),
    "as many columns as answers": nn.Conv2d(8, 8, 3, 2, padding=1),
    "shortcut": nn.Conv2d(8, 16, 1, 2, bias=False),
    "wide stem": nn.Conv2d(3, 64, 7, 2, padding=3),
    "nothing square": nn.Conv2d(2, 40, (3, 5), (2, 1), padding=(0, 2)),
}
SLOW = {
    "many channels in": nn.Conv2d(16, 64, 1, 2),
    "few channels out": nn.Conv2d(3, 16, 3, padding=1),
    "groups": nn.Conv2d(4, 64, 3, groups=2),
    "dilated": nn.Conv2d(1, 32, 3, dilation=2),
    "many channels in, overlapping": nn.Conv2d(16, 16, 3, 2, padding=1),
    "padded by name": nn.Conv2d(1, 32, 3, padding="same"),
    "reflecting": nn.Conv2d(1, 32, 3, padding=1, padding_mode="reflect"),
}


def images_for(layer, dtype=torch.float64):
    rng = stream("quick", layer.in_channels)
    return torch.rand(5, layer.in_channels, 13, 15, dtype=dtype, generator=rng)


def gradient(layer, images, *, twice=False):
    """Of something that is not linear in the answers, so that its own gradient is not zero."""
    images = images.clone().requires_grad_()
    loss = layer(images).square().sum()
    (found,) = torch.autograd.grad(loss, images, create_graph=twice)
    return torch.autograd.grad(found.sin().sum(), images)[0] if twice else found


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("twice", [False, True], ids=["once", "twice"])
def test_the_gradient_is_that_of_torch(name, twice):
    layer = QUICK[name].double()
    quick, images = frozen(layer), images_for(layer)
    assert type(quick) is QuickConv2d
    assert type(layer) is nn.Conv2d, "the model itself is left as it is"
    assert torch.equal(quick(images), layer(images))
    assert state_hash(quick) == state_hash(layer)
    expected = gradient(layer, images, twice=twice)
    assert expected.abs().max() > 0.01
    assert torch.allclose(gradient(quick, images, twice=twice), expected, rtol=1e-12)


@pytest.mark.parametrize("name", SLOW)
def test_other_convolutions_are_left_alone(name):
    layer = SLOW[name]
    quick, images = frozen(layer), images_for(layer, torch.float32)
    assert type(quick) is nn.Conv2d
    assert torch.allclose(gradient(quick, images), gradient(layer, images), rtol=1e-4, atol=1e-5)


def test_weights_that_learn_get_their_gradient():
    layer = QUICK["stride 2"].double()
    quick, images = frozen(layer).requires_grad_(), images_for(layer)
    for one in (layer, quick):
        one.zero_grad()
        one(images.clone().requires_grad_()).square().sum().backward()
    assert torch.equal(quick.weight.grad, layer.weight.grad)
    assert torch.equal(quick.bias.grad, layer.bias.grad)


@pytest.mark.parametrize("name", ["one channel in", "stride 2"])
def test_function_transforms_see_through(name):
    """Adaptation differentiates and batches over weights, also of the attacked images."""
    layer = QUICK[name].double()
    quick, images = frozen(layer), images_for(layer)
    many = {name: torch.stack([p, 2 * p]).detach() for name, p in layer.named_parameters()}

    def slope(model):
        loss = lambda one, x: functional_call(model, one, (x,)).square().sum()  # noqa: E731
        return vmap(grad(loss, argnums=1), (0, None))(many, images)

    assert torch.allclose(slope(quick), slope(layer), rtol=1e-12)


@pytest.mark.parametrize("name", ["one channel in", "stride 2"])
def test_bfloat16_passes_stay_near(name):
    layer = QUICK[name].float()
    quick, images = frozen(layer), images_for(layer, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradient(quick, images)
    exact = gradient(layer, images)
    assert found.dtype == torch.float32
    assert (found - exact).abs().max() < 0.05 * exact.abs().max()
