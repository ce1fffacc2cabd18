"""Poses of attacked images without their originals: planted ones are found, others not believed."""

from __future__ import annotations

import pytest
import torch
from planted_models import trained
from torch import nn

from attacks.build import build_attack, strengths_of
from attacks.spatial import Pose, move
from attacks.threats.infer import infer
from attacks.threats.pose import KIND, POSES, basis_of, infer_poses, inverse, likeliest, numbers_of
from attacks.threats.warp import warped
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.threats.options import Amplify
from benchmark.core.threats.sets import Pairs
from benchmark.core.types import Batch
from benchmark.data.load import load
from benchmark.evaluation.verdicts import Meter, frozen, metered, run_attack

N = 60


@pytest.fixture(scope="module")
def model():
    return frozen(trained())


@pytest.fixture(scope="module")
def digits():
    return load("digits", None, False, 0)


@pytest.fixture(scope="module")
def clean(digits):
    return digits.validation.batch(slice(N))


@pytest.fixture(scope="module")
def own(digits):
    return digits.train.batch(slice(None))


def turns_of(count):
    """15 to 40 degrees either way: less is not told from how digits are written."""
    drawn = 2 * torch.rand(count, generator=stream("turns")) - 1
    return 15 * drawn.sign() + 25 * drawn


def turned(clean, turns):
    """By an implementation of its own: what the attack does, counter-clockwise."""
    parts = zip(clean.images, turns.tolist(), strict=True)
    return Batch(torch.cat([move(one[None], Pose(turn, 0, 0)) for one, turn in parts]),
                 clean.labels)  # fmt: skip


def degrees(numbers):
    return torch.rad2deg(torch.atan2(numbers[:, 1], numbers[:, 0] + 1))


def attacked(name, model, clean):
    attack = build_attack(name, strengths_of("digits"))
    rng = Streams.named(len(clean.labels), "pose", name)
    return Batch(run_attack(attack, model, clean, "examples", Meter(), rng).images, clean.labels)


@pytest.mark.parametrize(("turn", "right", "down"), [(30, 0, 0), (-20, 1, 0), (15, 0, -1)])
def test_a_pose_is_that_of_the_attack(clean, turn, right, down):
    """The lattice bends what it interpolates a little: hundredths of the change."""
    moved = move(clean.images, Pose(turn, right, down))
    back = numbers_of(torch.tensor([-float(turn)]), torch.tensor([[right / 4, down / 4]]))
    made = warped(
        clean.images, (inverse(back, clean.images) @ basis_of(clean.images)).expand(N, -1)
    )
    left = (made - moved).square().sum() / (moved - clean.images).square().sum()
    assert left < 0.01


def test_an_inverse_undoes():
    """On a picture wider than high, where half sides are not the same; and of an inverse."""
    images = torch.zeros(1, 1, 8, 16)
    there = numbers_of(torch.tensor([35.0]), torch.tensor([[0.2, -0.1]]))
    assert torch.allclose(inverse(inverse(there, images), images), there, atol=1e-6)
    places = (there @ basis_of(images)).view(1, 2, 4, 4)
    assert places.isfinite().all()


def test_planted_turns_are_found(model, clean):
    """Of unseen digits up to 40 degrees, by a model that was not trained on turns."""
    turns = turns_of(N)
    error = (degrees(likeliest(model, turned(clean, turns))) + turns).abs()
    assert error.median() < 12 and (error < 25).float().mean() > 0.75
    unrelated = (degrees(likeliest(model, turned(clean, turns))) + turns.roll(1)).abs()
    assert unrelated.median() > 20


def test_turned_images_give_a_set_of_turns(model, clean, own):
    shown = turned(clean, turns_of(N))
    found = infer_poses(Amplify(), model, shown, own)
    assert (found.kind, found.pairs) == (KIND, N) and found.residuals[KIND] < 0.8
    sizes = degrees(found.found.observed).abs()
    assert sizes.max() <= 45.1 and 18 < float(sizes.median()) < 38
    assert str(found.found).startswith("turns of up to")
    made = found.found.attack_inside(model, own.images[:N], own.labels[:N], Streams.named(N, "in"))
    assert made.min() >= 0 and made.max() <= 1
    assert infer(Amplify(), Pairs(own.images[:N], made)).kind == "warp"


@pytest.mark.parametrize("name", ["pgd_linf", "pgd_l2", "pgd_l1", "occlusion", "gaussian_noise"])
def test_what_is_no_pose_is_not_believed(model, clean, own, name):
    """Undoing a pose makes their labels likelier too, but leads away from own images."""
    shown = attacked(name, model, clean)
    found = infer_poses(Amplify(), model, shown, own)
    assert (found.kind, found.found) == ("", None)
    assert found.residuals[KIND] >= 1


def test_of_the_attack_ten_images_tell(model, clean, own):
    """K = 1 on digits; one image never does."""
    shown = attacked("rotation_translation", model, clean)
    assert infer_poses(Amplify(), model, shown.take(slice(10)), own).kind == KIND
    one = infer_poses(Amplify(), model, shown.take(slice(1)), own)
    assert (one.kind, one.pairs) == ("", 1)


def test_other_labels_are_not_believed(model, clean, own):
    shown = turned(clean, turns_of(N))
    assert (
        infer_poses(Amplify(), model, Batch(shown.images, shown.labels.roll(1)), own).found is None
    )


def test_labels_without_own_images_tell_nothing(model, clean, own):
    shown = turned(clean, turns_of(N))
    strangers = Batch(own.images, own.labels + 10)
    without = infer_poses(Amplify(), model, shown, strangers)
    assert without.found is None and without.residuals == {KIND: None}
    part = infer_poses(Amplify(), model, shown, own.take(own.labels < 7))
    assert part.pairs == int((shown.labels < 7).sum()) and part.residuals[KIND] < 1


def test_passes_are_those_that_are_said(model, clean, own):
    meter = Meter()
    with metered(model, meter):
        infer_poses(Amplify(), model, clean, own)
    assert (meter.forwards, meter.backwards) == (POSES * N, 0)


def test_images_may_be_large_and_coloured():
    images = torch.rand(200, 3, 64, 32, generator=stream("large"))
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 32, 4))
    shown = Batch(images, torch.arange(200) % 4)
    found = infer_poses(Amplify(), model, shown, shown)
    assert found.pairs <= 100 and found.found is None
