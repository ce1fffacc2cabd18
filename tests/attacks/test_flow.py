"""Flows: SciPy, the grid attack of the same fields, the known optimum on a ramp."""

import numpy as np
import pytest
import torch
from attack_tasks import dealt
from finite_sets import images, linear
from scipy.ndimage import map_coordinates
from torch.nn.functional import cross_entropy

from attacks.flow import Flows, PGDElastic, SmoothFlows, StAdv
from attacks.warp import Bend, Elastic
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams

NOTHING = torch.empty(0)
"""What chance draws."""


def numbers(*shape):
    return 2 * torch.rand(*shape, generator=stream("numbers")) - 1


@pytest.mark.parametrize("size", [(8, 8), (6, 11)])
def test_scipy_lets_every_image_flow_alike(size):
    batch, chosen = images(2, 1, *size), numbers(2, 2, *size)
    made = Flows(1.7).make(batch, chosen, NOTHING)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(float)
    for image, flow, one in zip(batch, 1.7 * chosen, made, strict=True):
        places = [rows + flow[1].numpy(), columns + flow[0].numpy()]
        expected = map_coordinates(image[0].double().numpy(), places, order=1, mode="nearest")
        assert np.allclose(one[0].numpy(), expected, atol=1e-5)


def test_a_flow_of_one_pixel_to_the_right_shows_the_right_neighbour():
    batch = images(2, 3, 6, 11)
    chosen = torch.zeros(2, 2, 6, 11)
    chosen[:, 0] = 1
    made = Flows(1).make(batch, chosen, NOTHING)
    assert torch.allclose(made[..., :-1], batch[..., 1:], atol=1e-5)
    assert torch.allclose(made[..., -1], batch[..., -1], atol=1e-5)


@pytest.mark.parametrize("threat", [Flows(1), SmoothFlows(0.1)], ids=str)
def test_no_flow_is_the_identity(threat):
    batch = images(2, 3, 6, 11)
    still = torch.zeros(2, *threat.chosen((3, 6, 11)))
    assert torch.allclose(threat.make(batch, still, NOTHING), batch, atol=1e-6)


def test_the_grid_attack_bends_alike():
    """Its lattice of numbers, drawn anew here, makes the same picture."""
    batch = images(2, 1, 9, 12)
    for number in range(4):
        rng = Streams.named(number + 1, "elastic field").take(slice(number, None))
        lattice = (2 * rng.uniform((2, 4, 4)) - 1).expand(2, -1, -1, -1)
        made = SmoothFlows(0.1).make(batch, lattice, NOTHING)
        expected = Elastic(0.1).threat.make(batch, Bend(number, 0.1))
        assert torch.allclose(made, expected, atol=1e-5)


def test_only_a_field_that_goes_too_far_is_scaled_down():
    batch, far = images(3, 1, 9, 12), numbers(3, 2, 4, 4).sign()
    made = SmoothFlows(0.05).make(batch, far, NOTHING)
    assert torch.allclose(made, SmoothFlows(0.05).make(batch, 0.8 * far, NOTHING), atol=1e-5)
    near = SmoothFlows(0.1).make(batch, 0.1 * far, NOTHING)
    assert torch.allclose(near, SmoothFlows(0.05).make(batch, 0.2 * far, NOTHING), atol=1e-5)
    assert not torch.allclose(near, made, atol=1e-2)


def ramp():
    """Images that brighten to the right, a linear model of two classes, its own labels."""
    batch = torch.linspace(0.3, 0.7, 8).expand(4, 1, 8, 8).contiguous()
    batch = batch + 0.02 * torch.arange(4).view(4, 1, 1, 1)
    model = linear((1, 8, 8), 2)
    return model, batch, model(batch).argmax(dim=1)


def test_on_a_ramp_every_pixel_flows_where_a_linear_model_is_hurt_most():
    """There a pixel that flows by f changes by f slopes, whatever its neighbours do."""
    model, batch, labels = ramp()
    attack = StAdv(flow=0.5, smoothness=0.0)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    weight = (model[1].weight[1 - labels] - model[1].weight[labels]).view(4, 1, 8, 8)
    best = batch + 0.5 * (0.4 / 7) * weight.sign()
    assert torch.allclose(found[..., 1:-1], best[..., 1:-1], atol=1e-4)


def test_no_pixel_flows_further_than_allowed_however_long_the_steps():
    model, batch, labels = ramp()
    attack = StAdv(flow=0.5, smoothness=0.0, step_size=9.0)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    assert 0 < (found - batch).abs().max() <= 0.5 * 0.4 / 7 + 1e-6


def test_smoothness_keeps_neighbours_together():
    model, batch, labels = ramp()
    rough = []
    for smoothness in (0.0, 1.0):
        attack = StAdv(flow=0.5, smoothness=smoothness)
        moved = attack.perturb(model, batch, labels, "examples", dealt(labels, 0)) - batch
        rough.append(float(moved[..., 1:-1].diff(dim=2).abs().mean()))
    assert 0 < rough[1] < 0.7 * rough[0]


def test_a_chosen_bend_is_worse_than_those_drawn_for_all():
    batch, model = images(40, 1, 8, 8), linear((1, 8, 8))
    labels = model(batch).argmax(dim=1)
    losses = []
    for attack in (Elastic(0.05), PGDElastic(bend=0.05)):
        found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
        losses.append(cross_entropy(model(found), labels, reduction="none"))
    assert (losses[1] > losses[0]).float().mean() > 0.9


@pytest.mark.parametrize("attack", [StAdv(flow=0.3), PGDElastic(bend=0.04, restarts=2)], ids=str)
def test_both_goals_break_the_same_images(attack):
    batch, model = images(40, 3, 6, 11), linear((3, 6, 11))
    labels = model(batch).argmax(dim=1)
    broken = []
    for goal in ("examples", "verdict"):
        found = attack.perturb(model, batch, labels, goal, dealt(labels, 0))
        assert found.min() >= 0 and found.max() <= 1
        broken.append(model(found).argmax(dim=1) != labels)
    assert torch.equal(*broken)
    assert 0 < broken[0].sum() < 40


@pytest.mark.parametrize(
    "make",
    [
        lambda: StAdv(flow=-1.0),
        lambda: StAdv(flow=1.0, smoothness=-0.1),
        lambda: PGDElastic(bend=-0.1),
        lambda: PGDElastic(bend=0.1, restarts=0),
    ],
)
def test_what_makes_no_sense_is_refused(make):
    with pytest.raises(UsageError, match="expected"):
        make()
