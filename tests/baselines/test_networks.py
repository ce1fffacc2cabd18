"""Networks: published sizes, determinism, and the names that adaptation relies on."""

import pytest
import torch
from torch import nn

from baselines.networks.zoo import (
    NETWORKS,
    Blocks,
    Normalise,
    build_network,
    default_network,
)
from benchmark.adaptation.parameters import head_parameters, last_linear, norm_parameters
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.data.catalog import DATASETS

CIFAR, MNIST, DIGITS = (3, 32, 32), (1, 28, 28), (1, 8, 8)


def build(name, shape, classes=10, seed=0):
    return build_network(name, shape, classes, stream("test", seed)).eval()


@pytest.mark.parametrize(
    ("name", "shape", "parameters"),
    [
        ("resnet18", CIFAR, 11_173_962),  # the CIFAR ResNet-18 that everybody counts
        ("wrn_28_10", CIFAR, 36_479_194),  # 36.5 million in the paper
        ("resnet20", CIFAR, 269_722),  # 0.27 million in the paper
        ("lenet5", MNIST, 32 * 10 + 64 * 289 + 200 * 3137 + 10 * 201),
    ],
)
def test_published_sizes(name, shape, parameters):
    assert sum(p.numel() for p in build(name, shape).parameters()) == parameters


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"wrn_28_10"}))
def test_images_in_logits_out(name):
    shape = MNIST if name == "lenet5" else CIFAR
    logits = build(name, shape, classes=7)(torch.rand(2, *shape))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


@pytest.mark.parametrize("shape", [DIGITS, (1, 9, 15), MNIST, CIFAR])
def test_small_cnn_takes_any_small_image_and_each_one_alone(shape):
    model, images = build("small_cnn", shape).train(), torch.rand(4, *shape)
    alone = torch.cat([model(image[None]) for image in images])
    assert torch.allclose(model(images), alone, atol=1e-5)


def test_initial_weights_depend_on_rng_alone():
    before = torch.random.get_rng_state()
    first, again, other = (build("small_cnn", DIGITS, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(first.network.head.weight, other.network.head.weight)


def test_normalisation_is_the_formula_and_is_kept_with_the_weights():
    normalise = Normalise((0.5, 0.25), (0.5, 2.0))
    images = torch.tensor([1.0, 0.25]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    assert torch.equal(normalise(images)[0, :, 0, 0], torch.tensor([1.0, 0.0]))
    assert set(normalise.state_dict()) == {"mean", "std"}


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"wrn_28_10"}))
def test_the_head_is_what_makes_the_logits(name):
    shape = MNIST if name == "lenet5" else CIFAR
    model, images = build(name, shape, classes=7).eval(), torch.rand(4, *shape)
    assert head_parameters(model, images) == last_linear(model)
    weight, bias = (model.get_parameter(parameter) for parameter in head_parameters(model, images))
    assert weight.shape[0] == 7
    with torch.no_grad():
        weight.zero_()
        bias.copy_(torch.arange(7.0))
    assert torch.equal(model(torch.rand(1, *shape))[0], torch.arange(7.0))


@pytest.mark.parametrize(
    ("name", "layers"), [("small_cnn", 2), ("resnet18", 20), ("resnet20", 19), ("resnet2b", 0)]
)
def test_scales_and_shifts_of_every_normalisation_layer(name, layers):
    model = build(name, CIFAR)
    found = [model.get_parameter(parameter) for parameter in norm_parameters(model)]
    assert len(found) == 2 * layers
    assert all(parameter.ndim == 1 for parameter in found)


def test_a_network_without_the_layers_asked_for_has_no_names():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, affine=False))
    assert head_parameters(model, torch.rand(4, 1, 8, 8)) == norm_parameters(model) == []
    assert head_parameters(nn.Linear(2, 2), torch.rand(4, 2)) == ["weight", "bias"]


def test_unknown_network():
    with pytest.raises(UsageError, match="did you mean resnet18"):
        build("resnet-18", CIFAR)


@pytest.mark.parametrize("name", ["lenet5", "resnet2b", "resnet4b", "resnet20"])
def test_published_networks_refuse_other_images(name):
    with pytest.raises(UsageError, match=rf"{name}.* got \(1, 8, 8\)"):
        build(name, DIGITS)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_has_a_network_that_takes_it(dataset):
    facts = DATASETS[dataset]
    logits = build(default_network(dataset, facts.shape), facts.shape, facts.classes)(
        torch.rand(1, *facts.shape)
    )
    assert logits.shape == (1, facts.classes)


@pytest.mark.parametrize("size", [(5, 3, 8, 6), (0, 1, 8, 8)])
def test_blocks_of_pixels_are_torchs_own_and_empty_batches_pass(size):
    images = torch.rand(size)
    blocks = Blocks()(images)
    assert blocks.shape == (size[0], 4 * size[1], size[2] // 2, size[3] // 2)
    if size[0]:
        assert torch.equal(blocks, nn.PixelUnshuffle(2)(images))


def test_lenet5_pools_first_and_is_still_the_published_network():
    """Logits and gradients bit for bit, also where a whole window is dark and its pixels tie."""
    ours, rng = build("lenet5", MNIST), stream("pooled")
    images = torch.rand(20, *MNIST, generator=rng).mul_(2).sub_(1).clamp_(0).requires_grad_()

    def published(images):
        hidden = ours.pool(ours.conv1(images).relu())
        hidden = ours.pool(ours.conv2(hidden).relu()).flatten(1)
        return ours.linear2(ours.linear1(hidden).relu())

    found, expected = ours(images), published(images)
    assert torch.equal(found, expected)
    slopes = [torch.autograd.grad(logits.square().sum(), images)[0] for logits in (found, expected)]
    assert slopes[0].any()
    assert torch.equal(*slopes)
