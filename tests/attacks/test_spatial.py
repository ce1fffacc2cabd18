"""Rotation and translation: exact turns and shifts, SciPy, a brute-force search."""

import math

import numpy as np
import pytest
import torch
from attack_tasks import dealt
from scipy.ndimage import affine_transform
from torch import nn
from torch.nn.functional import cross_entropy, pad

from attacks.spatial import Pose, RotationTranslation, move
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream


def images(count=3, channels=1, height=8, width=8):
    return torch.rand(count, channels, height, width, generator=stream("images"))


def shifted(batch, right, down):
    """Whole pixels, black coming in: the definition."""
    room = pad(batch, (4, 4, 4, 4))
    height, width = batch.shape[2:]
    return room[:, :, 4 - down : 4 - down + height, 4 - right : 4 - right + width]


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, 1), (-2, 3), (4, -4)])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_quarter_turns_and_whole_shifts_are_exact(right, down, turns):
    batch = images(channels=3)
    expected = shifted(torch.rot90(batch, turns, dims=(2, 3)), right, down)
    assert torch.allclose(move(batch, Pose(90 * turns, right, down)), expected, atol=1e-5)


@pytest.mark.parametrize("pose", [Pose(17, 0, 0), Pose(-30, 2, -1), Pose(8.5, -3, 3)])
@pytest.mark.parametrize("size", [(8, 8), (6, 11)])
def test_scipy_turns_and_shifts_alike(pose, size):
    batch = images(1, 1, *size)
    angle = math.radians(pose.angle)
    back = np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    )  # rows, columns
    centre = (np.array(size) - 1) / 2
    offset = centre - back @ (centre + np.array([pose.down, pose.right]))
    expected = affine_transform(
        batch[0, 0].double().numpy(), back, offset, order=1, mode="grid-constant"
    )
    assert np.allclose(move(batch, pose)[0, 0].numpy(), expected, atol=1e-5)


def test_the_grid_is_the_one_described():
    grid = RotationTranslation(degrees=30, shift=3).threat.grid()
    assert len(grid) == len(set(grid)) == 31 * 5 * 5
    assert sorted({pose.angle for pose in grid}) == [2.0 * step for step in range(-15, 16)]
    assert sorted({pose.right for pose in grid}) == [-3, -2, 0, 2, 3]
    assert {Pose(p.angle, p.down, p.right) for p in grid} == set(grid)
    assert grid[0] == Pose(0, 0, 0)


@pytest.mark.parametrize(
    ("degrees", "shift", "poses"), [(25, 1, 31 * 9), (0, 2, 25), (10, 0, 31), (0, 0, 1)]
)
def test_equal_poses_are_tried_once(degrees, shift, poses):
    attack = RotationTranslation(degrees, shift)
    assert attack.passes == len(attack.threat.grid()) == poses


def test_inside_takes_every_pose_and_nothing_else():
    attack, batch = RotationTranslation(20, 2, angles=5, shifts=3), images(2)
    for pose in attack.threat.grid():
        assert attack.threat.inside(batch, move(batch, pose)).all()
    edited = move(batch, Pose(10, 2, -2))
    edited[1, 0, 4, 4] += 1e-3
    assert attack.threat.inside(batch, edited).tolist() == [True, False]
    for beyond in (Pose(25, 0, 0), Pose(-20.5, 0, 0), Pose(0, 3, 0), Pose(0, 0, -4), Pose(7, 2, 2)):
        assert not attack.threat.inside(batch, move(batch, beyond)).any(), beyond
    assert not attack.threat.inside(batch, batch.flip(0)).any()


class CentrePixel(nn.Module):
    """Class 1 if the pixel at (4, 4) is bright."""

    def forward(self, batch):
        bright = batch[:, 0, 4, 4] - 0.5
        return torch.stack([-bright, bright], dim=1)


@pytest.mark.parametrize("goal", ["examples", "verdict"])
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_a_dot_is_moved_onto_or_off_the_pixel_that_is_read(shift, goal):
    dots = [(4, 4), (4, 5), (2, 2), (4, 7), (0, 4)]
    batch = torch.zeros(len(dots), 1, 8, 8)
    for image, (row, column) in zip(batch, dots, strict=True):
        image[0, row, column] = 1
    labels = torch.tensor([1, 0, 0, 0, 0])
    away = [max(abs(row - 4), abs(column - 4)) for row, column in dots]
    attack = RotationTranslation(0, shift, shifts=2 * shift + 1)
    moved = attack.perturb(CentrePixel(), batch, labels, goal, dealt(labels, 0))
    broken = CentrePixel()(moved).argmax(dim=1) != labels
    assert broken.tolist() == [shift > 0, *(distance <= shift for distance in away[1:])]
    assert attack.threat.inside(batch, moved).all()


def linear(classes=4):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(classes, 64, generator=stream("weight")) / 3)
        model[1].bias.zero_()
    return model.eval().requires_grad_(False)


def test_examples_are_the_worst_pose_by_brute_force():
    attack, model, batch = RotationTranslation(5, 0), linear(), images(40)
    labels = model(batch).argmax(dim=1)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    broken = []
    for image, label, example in zip(batch, labels, found, strict=True):
        ranked = []
        for pose in attack.threat.grid():
            candidate = move(image[None], pose)
            logits = model(candidate)
            loss = float(cross_entropy(logits, label[None]))
            ranked.append((int(logits.argmax()) != int(label), loss, candidate))
        wrong, _, worst = max(ranked, key=lambda entry: entry[:2])
        assert torch.allclose(example, worst[0], atol=1e-5)
        broken.append(wrong)
    assert 0 < sum(broken) < 40


def test_both_goals_break_the_same_images_and_a_verdict_is_cheaper():
    attack, model, batch = RotationTranslation(5, 0), linear(), images(40)
    labels, passes = model(batch).argmax(dim=1), []
    model.register_forward_hook(lambda _module, _inputs, logits: passes.append(len(logits)))
    broken, cost = {}, {}
    for goal in ("examples", "verdict"):
        passes.clear()
        moved = attack.perturb(model, batch, labels, goal, dealt(labels, 0))
        cost[goal] = sum(passes)
        broken[goal] = (model(moved).argmax(dim=1) != labels).tolist()
    assert broken["examples"] == broken["verdict"]
    assert 0 < sum(broken["verdict"]) < 40
    assert cost["verdict"] < cost["examples"] == 40 * attack.passes


@pytest.mark.parametrize(
    "options",
    [
        {"angles": 4},
        {"shifts": 0},
        {"angles": -1},
        {"degrees": -5},
        {"degrees": 200},
        {"shift": -1},
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(options):
    with pytest.raises(UsageError, match=r"rotation_translation.*expected"):
        RotationTranslation(**{"degrees": 30, "shift": 1, **options})
