"""Stretches, views and bends: closed forms, SciPy, a brute-force search of each set."""

import numpy as np
import pytest
import torch
from finite_sets import check_search, check_set, images
from scipy.ndimage import affine_transform, map_coordinates

from attacks.warp import (
    CORNERS,
    Bend,
    Elastic,
    Perspective,
    ScaleShear,
    Stretch,
    homography,
    smooth_field,
)
from benchmark.core.errors import UsageError

ATTACKS = [ScaleShear(0.2, 0.2, 3), Perspective(0.1, 3), Elastic(0.1, 4, 2)]


@pytest.mark.parametrize("size", [(8, 8), (6, 11)])
@pytest.mark.parametrize("stretch", [Stretch(1.3, 0.8, 0), Stretch(1, 1, 0.4), Stretch(0.7, 1, -1)])
def test_scipy_scales_and_shears_alike(stretch, size):
    batch = images(1, 1, *size)
    forth = np.array([[stretch.high, 0], [stretch.shear * stretch.high, stretch.wide]])  # y, x
    back, centre = np.linalg.inv(forth), (np.array(size) - 1) / 2
    expected = affine_transform(
        batch[0, 0].double().numpy(), back, centre - back @ centre, order=1, mode="grid-constant"
    )
    made = ScaleShear(0.5, 0.5).threat.make(batch, stretch)
    assert np.allclose(made[0, 0].numpy(), expected, atol=1e-5)


def test_half_size_averages_four_pixels():
    batch = images(2, 3)
    made = ScaleShear(0.5, 0.0).threat.make(batch, Stretch(0.5, 0.5, 0))
    quarters = torch.nn.functional.avg_pool2d(batch, 2)
    assert torch.allclose(made[:, :, 2:6, 2:6], quarters, atol=1e-6)
    made[:, :, 2:6, 2:6] = 0
    assert (made == 0).all()


def test_a_homography_takes_corners_to_their_targets():
    targets = CORNERS + 0.2 * torch.rand(4, 2, dtype=torch.float64)
    flat = torch.cat([CORNERS, torch.ones(4, 1).double()], dim=1) @ homography(CORNERS, targets).T
    assert torch.allclose(flat[:, :2] / flat[:, 2:], targets)
    assert torch.allclose(homography(CORNERS, CORNERS), torch.eye(3).double())


def test_corners_moved_alike_are_a_scale():
    batch = images(2, 1, 6, 11)
    view = Perspective(0.1).threat.make(batch, (0.1,) * 4)
    assert torch.allclose(
        view, ScaleShear(0.2, 0.0).threat.make(batch, Stretch(1.2, 1.2, 0)), atol=1e-5
    )


@pytest.mark.parametrize("size", [(8, 8), (6, 11)])
def test_scipy_sees_alike_from_another_side(size):
    """Forth by the homography from the old corners to the new ones, and back by its inverse."""
    batch, move = images(1, 1, *size), torch.tensor([0.1, -0.1, 0.0, 0.05])
    moved = CORNERS * (1 + 2 * move.double()[:, None])
    back = np.linalg.inv(homography(CORNERS, moved).numpy())
    rows, columns = np.mgrid[: size[0], : size[1]]
    x, y = (
        (2 * place + 1) / side - 1 for place, side in zip((columns, rows), size[::-1], strict=True)
    )
    u, v, w = np.einsum("ij,jhw->ihw", back, np.stack([x, y, np.ones(size)]))
    places = [((v / w + 1) * size[0] - 1) / 2, ((u / w + 1) * size[1] - 1) / 2]
    expected = map_coordinates(batch[0, 0].double().numpy(), places, order=1, mode="grid-constant")
    made = Perspective(0.1).threat.make(batch, tuple(move.tolist()))
    assert np.allclose(made[0, 0].numpy(), expected, atol=1e-5)


def test_a_corner_moved_inwards_leaves_black_behind():
    white = torch.ones(1, 1, 32, 32)
    made = Perspective(0.1).threat.make(white, (-0.1, 0.0, 0.0, 0.0))
    assert (made[0, 0, :3, :3] == 0).all()
    assert made[0, 0, 4, 4] > 0.99


def test_no_shift_is_the_identity():
    batch = images(2, 3)
    for attack in (ScaleShear(0.0, 0.0), Perspective(0.0), Elastic(0.0)):
        assert attack.passes == 1
        assert torch.equal(attack.threat.make(batch, attack.threat.grid()[0]), batch)


@pytest.mark.parametrize("size", [(8, 8), (6, 11), (28, 28)])
def test_fields_are_smooth_named_and_of_length_one(size):
    fields = [smooth_field(field, *size) for field in range(6)]
    for number, field in enumerate(fields):
        assert field.shape == (*size, 2)
        assert float(field.norm(dim=2).max()) == pytest.approx(1)
        assert torch.equal(field, smooth_field(number, *size))
        steps = torch.cat([field.diff(dim=0).flatten(), field.diff(dim=1).flatten()])
        assert steps.abs().max() < 12 / min(size)
    assert len(torch.stack(fields).flatten(1).unique(dim=0)) == 6


def test_fields_are_the_same_on_every_machine():
    """Written down once: another field is another threat."""
    assert smooth_field(0, 8, 8)[0, 0].tolist() == pytest.approx([0.147585, -0.210312], abs=1e-6)


def test_scipy_bends_alike():
    batch = images(1, 1, 9, 12)
    made = Elastic(0.1).threat.make(batch, Bend(2, 0.1))[0, 0]
    field = smooth_field(2, 9, 12).numpy()
    rows, columns = np.mgrid[:9, :12].astype(float)
    places = [rows + 0.1 * 9 * field[..., 1], columns + 0.1 * 12 * field[..., 0]]
    expected = map_coordinates(batch[0, 0].double().numpy(), places, order=1, mode="grid-constant")
    assert np.allclose(made.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 6, 11)])
def test_each_set_is_what_it_says(attack, shape):
    check_set(attack, images(3, *shape))


@pytest.mark.parametrize("attack", ATTACKS, ids=str)
def test_the_whole_set_is_searched(attack):
    check_search(type(attack)(**{**vars(attack), **SMALL[attack.name]}), images(40))


SMALL = {
    "scale_shear": {"scale": 0.05, "shear": 0.05},
    "perspective": {"corner": 0.02},
    "elastic": {"bend": 0.03},
}


def test_the_grids_are_of_the_size_they_say():
    assert ScaleShear(0.2, 0.2).passes == 5**3
    assert Perspective(0.1).passes == 3**4
    assert Elastic(0.1).passes == 1 + 40 * 3


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (ScaleShear(0.2, 0.2, 3), ScaleShear(0.205, 0.2, 3)),
        (ScaleShear(0.2, 0.2, 3), ScaleShear(0.2, 0.205, 3)),
        (Perspective(0.1), Perspective(0.102)),
        (Elastic(0.1, 3, 2), Elastic(0.103, 3, 2)),
    ],
)
def test_what_goes_further_is_outside(small, large):
    batch = images(3, 3)
    beyond = large.threat.make(batch, large.threat.grid()[1])
    assert large.threat.inside(batch, beyond).all()
    assert not small.threat.inside(batch, beyond).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ScaleShear(0.95, 0.0),
        lambda: ScaleShear(0.1, -0.1),
        lambda: ScaleShear(0.1, 0.1, steps=4),
        lambda: Perspective(0.25),
        lambda: Perspective(0.1, steps=2),
        lambda: Elastic(-0.1),
        lambda: Elastic(0.1, fields=0),
        lambda: Elastic(0.1, sizes=0),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(make):
    with pytest.raises(UsageError, match="expected"):
        make()
