"""Gradients that are not the slopes of a model are found; those of sound networks are not."""

import pytest
import torch
from planted_models import SOUND, Changed, straight_through, trained
from torch import nn

from benchmark.core.seeding import global_state, stream
from benchmark.data.load import load
from benchmark.evaluation.slopes import of_slopes
from benchmark.evaluation.verdicts import frozen


class Backwards(torch.autograd.Function):
    """The identity, whose slope is said to be -1."""

    @staticmethod
    def forward(_ctx, images):
        return images.clone()

    @staticmethod
    def backward(_ctx, gradient):
        return -gradient


def of(name, model, limit=100):
    images = load("digits", None, False, 0).validation.first(limit).batch().images
    with global_state(stream("slopes", name)):
        return of_slopes(frozen(model), images, 10)


WRONG = {
    "backwards": lambda network, images: network(Backwards.apply(images)),
    "three times": lambda network, images: network(3 * images - 2 * images.detach()),
    "rounded to 256 levels": lambda network, images: network(
        straight_through((images * 255).round() / 255, images)
    ),
    "half": lambda network, images: network(
        torch.cat([images[..., :4], images[..., 4:].detach()], dim=-1)
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_gradients_that_are_made_up_are_found(name):
    (flag,) = of(name, Changed(trained(), WRONG[name]).eval())
    assert flag.code == "wrong gradients" and flag.value > 0.6


@pytest.mark.parametrize("name", WRONG)
def test_and_where_float64_cannot_be_had(name):
    """A model that answers in float32 whatever comes; 256 levels are too fine to see there."""
    change = WRONG[name]
    model = Changed(trained(), lambda network, images: change(network, images).float())
    assert bool(of(name, model.eval())) == ("256" not in name)


@pytest.mark.parametrize("name", SOUND)
def test_those_of_sound_networks_are_not(name):
    assert of(name, SOUND[name]()) == []


def test_equal_values_under_one_pool_are_no_wrong_gradient():
    """Of a constant image the largest value of a window has no slope: it is moved off first."""
    network = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 10))
    with global_state(stream("pool")):
        assert of_slopes(frozen(network), torch.zeros(40, 1, 8, 8), 10) == []


def test_too_few_images_say_nothing():
    model = Changed(trained(), WRONG["backwards"]).eval()
    assert of("few", model, limit=7) == [] and len(of("enough", model, limit=8)) == 1
