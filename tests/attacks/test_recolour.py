"""Functions of colour: known colours, SciPy's interpolation, a linear model's optimum, bounds."""

import numpy as np
import pytest
import torch
from attack_tasks import dealt
from finite_sets import images, linear
from scipy.interpolate import RegularGridInterpolator

from attacks.engine.cieluv import from_luv, to_luv
from attacks.recolour import Recolour, Recolourings
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream

NOTHING = torch.empty(0)
"""What chance draws."""


def numbers(count, threat, shape):
    draws = torch.rand(count, *threat.chosen(shape), generator=stream("numbers"))
    return 2 * draws - 1


def every_colour(sides):
    return torch.cartesian_prod(*[torch.linspace(0, 1, sides)] * 3)[:, :, None, None]


@pytest.mark.parametrize(
    ("colour", "luv"),
    [
        ((1, 0, 0), (53.24, 175.01, 37.75)),
        ((0, 1, 0), (87.73, -83.08, 107.40)),
        ((0, 0, 1), (32.30, -9.40, -130.34)),
        ((1, 1, 0), (97.14, 7.70, 106.79)),
        ((1, 1, 1), (100, 0, 0)),
        ((0.5, 0.5, 0.5), (53.39, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_known_colours_in_cieluv(colour, luv):
    """Tables of conversions differ in the second digit: their white points do."""
    made = to_luv(torch.tensor(colour).view(1, 3, 1, 1).float()).flatten()
    scaled = made * torch.tensor([100.0, 200.0, 200.0]) - torch.tensor([0.0, 100.0, 100.0])
    assert torch.allclose(scaled, torch.tensor(luv).float(), atol=0.06)


def test_every_colour_comes_back():
    colours = every_colour(32)
    assert torch.allclose(from_luv(to_luv(colours)), colours, atol=3e-5)
    assert torch.allclose(from_luv(to_luv(colours.double())), colours.double(), atol=1e-12)


def test_the_way_back_has_the_slopes_of_finite_differences_and_never_none():
    colours = to_luv(0.8 * every_colour(4).double() + 0.1).requires_grad_()
    assert torch.autograd.gradcheck(from_luv, colours)
    anywhere = (3 * every_colour(21) - 1).requires_grad_()
    (slopes,) = torch.autograd.grad(from_luv(anywhere).sum(), anywhere)
    assert slopes.isfinite().all()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_scipy_interpolates_alike(channels):
    threat, shape = Recolourings(0.1, 5), (channels, 6, 11)
    batch = 0.2 * images(2, *shape) + 0.4  # nothing is cut
    chosen = numbers(2, threat, shape)
    made = threat.make(batch, chosen, NOTHING)
    if channels == 3:
        batch, made = to_luv(batch), to_luv(made)
    for image, lattice, one in zip(batch, chosen, made, strict=True):
        moves = lattice.squeeze().reshape(channels, *lattice.shape[4 - channels :]).numpy()
        moves = moves.transpose(*range(channels, 0, -1), 0)  # first channel first
        axes = [np.linspace(0, 1, count) for count in moves.shape[:-1]]
        colours = image.permute(1, 2, 0).numpy()
        expected = colours + 0.1 * RegularGridInterpolator(axes, moves)(colours)
        assert np.allclose(one.permute(1, 2, 0).numpy(), expected, atol=1e-5)


def test_the_lattice_is_that_of_the_paper():
    assert Recolour(eps=0.1).threat.chosen((3, 8, 8)) == (3, 32, 32, 16)


def test_black_and_white_are_ends_of_the_lattice():
    threat = Recolourings(0.1, 3)
    ends = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    made = threat.make(ends, torch.tensor([1.0, -1.0, 0.5]).view(1, 1, 1, 1, 3), NOTHING)
    assert torch.allclose(made, ends + 0.1 * torch.tensor([1.0, -1.0, 0.5]))


def test_a_colour_becomes_the_same_one_everywhere():
    model, batch = linear((3, 6, 11)), images(8, 3, 6, 11)
    batch[..., 6:] = batch[..., :5].flip(2)
    labels = model(batch).argmax(dim=1)
    found = Recolour(eps=0.1).perturb(model, batch, labels, "examples", dealt(labels, 0))
    assert torch.allclose(found[..., 6:], found[..., :5].flip(2), atol=1e-5)
    assert (found - batch).abs().flatten(1).amax(dim=1).min() > 0.1


@pytest.mark.parametrize("channels", [1, 2])
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


@pytest.mark.parametrize(
    ("shape", "eps"), [((1, 8, 8), 0.1), ((2, 6, 11), 0.1), ((3, 6, 11), 0.02)]
)
def test_both_goals_break_the_same_images(shape, eps):
    batch, model = images(40, *shape), linear(shape)
    labels = model(batch).argmax(dim=1)
    attack, broken = Recolour(eps=eps), []
    for goal in ("examples", "verdict"):
        found = attack.perturb(model, batch, labels, goal, dealt(labels, 0))
        assert found.min() >= 0 and found.max() <= 1
        assert attack.threat.inside(batch, found).all()
        broken.append(model(found).argmax(dim=1) != labels)
    assert torch.equal(*broken)
    assert 0 < broken[0].sum() < 40


def test_what_moves_further_in_cieluv_is_outside():
    batch = 0.2 * images(3, 3) + 0.4
    moved = to_luv(batch)
    moved[0, :, 3, 3] += torch.tensor([-0.099, 0.099, 0.099])
    moved[1, 1, 2, 2] += 0.101
    beyond = from_luv(moved)
    assert not ((beyond == 0) | (beyond == 1)).any()
    assert Recolour(eps=0.1).threat.inside(batch, beyond).tolist() == [True, False, True]


def test_what_moves_further_than_a_grey_may_is_outside():
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
