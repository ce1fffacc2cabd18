"""Affine maps: the grid attacks' own pictures, SciPy, a brute-force search."""

import numpy as np
import pytest
import torch
from attack_tasks import dealt
from finite_sets import images, linear
from scipy.ndimage import affine_transform
from torch.nn.functional import cross_entropy

from attacks.affine import Affine, PGDAffine
from attacks.build import build_attack, strengths_of
from attacks.spatial import Pose, move
from attacks.warp import ScaleShear, Stretch
from benchmark.core.errors import UsageError

THREAT = Affine(degrees=25, shift=2, scale=0.2, shear=0.3)
NOTHING = torch.empty(0)
"""What chance draws."""


def made(batch, *numbers):
    chosen = torch.tensor([numbers], dtype=batch.dtype).expand(len(batch), -1)
    return THREAT.make(batch, chosen, NOTHING)


@pytest.mark.parametrize("size", [(8, 8), (6, 11)])
def test_a_turn_and_a_move_are_those_of_the_grid_attack(size):
    batch = images(2, 3, *size)
    for turn, right, down in ((1, 0, 0), (-0.5, 0.5, -1), (0, 1, 0.5)):
        pose = Pose(25 * turn, int(2 * right), int(2 * down))
        alike = made(batch, turn, right, down, 0, 0, 0)
        assert torch.allclose(alike, move(batch, pose), atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (6, 11)])
def test_a_stretch_is_that_of_the_grid_attack(size):
    batch = images(2, 3, *size)
    for wide, high, shear in ((1, -1, 0), (0, 0, 1), (-0.5, 1, -0.5)):
        stretch = Stretch(1 + 0.2 * wide, 1 + 0.2 * high, 0.3 * shear)
        expected = ScaleShear(0.2, 0.3).threat.make(batch, stretch)
        assert torch.allclose(made(batch, 0, 0, 0, wide, high, shear), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (6, 11)])
def test_scipy_composes_them_alike(size):
    """Scale, then shear, then turn, then move; rows come before columns, and y points down."""
    batch, numbers = images(1, 1, *size), (0.7, -0.4, 0.8, 0.5, -1, 0.6)
    angle = np.radians(25 * numbers[0])
    stretch = np.array([[1 - 0.2, 0], [0.3 * 0.6 * (1 - 0.2), 1 + 0.2 * 0.5]])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    back, centre = np.linalg.inv(turn @ stretch), (np.array(size) - 1) / 2
    moved = centre + 2 * np.array([numbers[2], numbers[1]])
    expected = affine_transform(
        batch[0, 0].double().numpy(), back, centre - back @ moved, order=1, mode="grid-constant"
    )
    assert np.allclose(made(batch, *numbers)[0, 0].numpy(), expected, atol=1e-5)


def test_every_image_has_its_own_map():
    batch, chosen = images(3, 3), 2 * torch.rand(3, 6) - 1
    together = THREAT.make(batch, chosen, NOTHING)
    for place in range(3):
        one = slice(place, place + 1)
        assert torch.allclose(THREAT.make(batch[one], chosen[one], NOTHING), together[one])
    assert torch.allclose(made(batch, 0, 0, 0, 0, 0, 0), batch, atol=1e-6)


def test_the_worst_turn_is_found():
    """Of one number alone a fine grid is the whole truth: nothing is worse."""
    batch, model = images(40), linear((1, 8, 8))
    labels = model(batch).argmax(dim=1)
    attack = PGDAffine(degrees=20, shift=0, scale=0, shear=0)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    turned = [move(batch, Pose(float(angle), 0, 0)) for angle in np.linspace(-20, 20, 401)]
    losses = torch.stack([cross_entropy(model(one), labels, reduction="none") for one in turned])
    reached = cross_entropy(model(found), labels, reduction="none")
    assert (reached <= losses.amax(dim=0) + 0.01).all()
    assert (reached >= losses.amax(dim=0) - 0.1).float().mean() > 0.9


def test_both_goals_break_the_same_images():
    batch, model = images(40, 3, 6, 11), linear((3, 6, 11))
    labels = model(batch).argmax(dim=1)
    attack = PGDAffine(degrees=3, shift=0.1, scale=0.03, shear=0.03, restarts=3)
    broken = []
    for goal in ("examples", "verdict"):
        found = attack.perturb(model, batch, labels, goal, dealt(labels, 0))
        broken.append(model(found).argmax(dim=1) != labels)
    assert torch.equal(*broken)
    assert 0 < broken[0].sum() < 40


def test_whole_numbers_of_a_table_are_sizes_and_may_be_zero():
    attack = build_attack("pgd_affine", strengths_of("digits"))
    assert attack.threat == Affine(15, 0, 0.075, 0.075)
    assert attack.passes == 1 + 20 * 11


@pytest.mark.parametrize("option", [{"scale": 0.95}, {"degrees": 181}, {"shear": -0.1}])
def test_what_makes_no_sense_is_refused(option):
    with pytest.raises(UsageError, match="expected"):
        PGDAffine(**{"degrees": 10, "shift": 1, "scale": 0.1, "shear": 0.1} | option)
