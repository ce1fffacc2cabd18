"""Functions of colour: SciPy's interpolation, the known optimum of a linear model, bounds."""

import numpy as np
import pytest
import torch
from attack_tasks import dealt
from finite_sets import images, linear
from scipy.interpolate import RegularGridInterpolator

from attacks.recolour import Recolour, Recolourings
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream

NOTHING = torch.empty(0)
"""What chance draws."""


def numbers(count, threat, shape):
    draws = torch.rand(count, *threat.chosen(shape), generator=stream("numbers"))
    return 2 * draws - 1


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_scipy_interpolates_alike(channels):
    threat, shape = Recolourings(0.1, 5), (channels, 6, 11)
    batch = 0.8 * images(2, *shape) + 0.1
    batch[0, :, 0, :2] = torch.tensor([0.1, 0.9])
    chosen = numbers(2, threat, shape)
    made = threat.make(batch, chosen, NOTHING)
    axes = [np.linspace(0, 1, 5)] * channels
    for image, lattice, one in zip(batch, chosen, made, strict=True):
        moves = lattice.view(channels, *[5] * channels).numpy()
        moves = moves.transpose(*range(channels, 0, -1), 0)  # first channel first
        colours = image.permute(1, 2, 0).numpy()
        expected = colours + 0.1 * RegularGridInterpolator(axes, moves)(colours)
        assert np.allclose(one.permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_black_and_white_are_ends_of_the_lattice():
    threat = Recolourings(0.1, 3)
    ends = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    made = threat.make(ends, torch.tensor([1.0, -1.0, 0.5]).view(1, 1, 1, 1, 3), NOTHING)
    assert torch.allclose(made, ends + 0.1 * torch.tensor([1.0, -1.0, 0.5]))


def test_a_colour_becomes_the_same_one_everywhere():
    model, batch = linear((3, 6, 11)), images(8, 3, 6, 11)
    batch[..., 6:] = batch[..., :5].flip(2)
    labels = model(batch).argmax(dim=1)
    found = Recolour(eps=0.2).perturb(model, batch, labels, "examples", dealt(labels, 0))
    assert torch.allclose(found[..., 6:], found[..., :5].flip(2), atol=1e-5)
    assert (found - batch).abs().flatten(1).amax(dim=1).min() > 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_on_a_linear_model_every_number_ends_at_its_best_edge(channels):
    """Two places a channel: a corner's share of a colour is a product of x and 1 - x."""
    shape = (channels, 8, 8)
    batch, model = images(12, *shape) * 0.4 + 0.3, linear(shape, 2)
    labels = model(batch).argmax(dim=1)
    attack = Recolour(eps=0.1, points=2, smoothness=0.0)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    weight = (model[1].weight[1 - labels] - model[1].weight[labels]).view(12, *shape)
    best = batch.clone()
    for corner in range(2**channels):
        ends = [(corner >> channel) & 1 for channel in range(channels)]
        factors = [batch[:, c] if end else 1 - batch[:, c] for c, end in enumerate(ends)]
        share = torch.stack(factors).prod(dim=0)[:, None]
        best += 0.1 * share * (weight * share).sum(dim=(2, 3), keepdim=True).sign()
    assert torch.allclose(found, best, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 6, 11), (3, 6, 11)])
def test_both_goals_break_the_same_images(shape):
    batch, model = images(40, *shape), linear(shape)
    labels = model(batch).argmax(dim=1)
    attack, broken = Recolour(eps=0.1), []
    for goal in ("examples", "verdict"):
        found = attack.perturb(model, batch, labels, goal, dealt(labels, 0))
        assert found.min() >= 0 and found.max() <= 1
        assert attack.threat.inside(batch, found).all()
        broken.append(model(found).argmax(dim=1) != labels)
    assert torch.equal(*broken)
    assert 0 < broken[0].sum() < 40


def test_what_moves_further_than_a_colour_may_is_outside():
    batch = images(3) * 0.5
    beyond = batch.clone()
    beyond[1, 0, 2, 2] += 0.101
    assert Recolour(eps=0.1).threat.inside(batch, beyond).tolist() == [True, False, True]


def test_only_up_to_three_channels_have_a_lattice():
    attack = Recolour(eps=0.1)
    assert "1 to 3 channels" in attack.cannot_run((4, 8, 8), 10)
    assert [attack.cannot_run((channels, 8, 8), 2) for channels in (1, 2, 3)] == [None] * 3


@pytest.mark.parametrize("option", [{"eps": -0.1}, {"points": 0}, {"smoothness": -1.0}])
def test_what_makes_no_sense_is_refused(option):
    with pytest.raises(UsageError, match="expected"):
        Recolour(**{"eps": 0.1} | option)
