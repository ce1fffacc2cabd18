"""The binarisation test: examples that exist, and attacks that find them or do not."""

import pytest
import torch
from audit_subjects import BASE, Loud, Quantised, Shattered, Turned, subject_of
from audit_subjects import planted as plant
from planted_models import trained
from torch import nn

from benchmark.audit.binarisation import (
    Binarised,
    Readout,
    asked,
    binarisation,
    certified,
    head_of,
    planted,
    separating,
)
from benchmark.core.seeding import global_state, stream
from benchmark.core.types import distance


def test_the_example_exists_in_the_ball():
    subject = subject_of(trained(BASE), n=20)
    images, rng = subject.batch.images, subject.streams("here")
    model, corners = planted(subject.model, images, 0.15, rng)
    assert certified(model, images, corners).all()
    assert distance(images, corners, "linf").max() <= 0.15 + 1e-6
    assert 0 <= corners.min() <= corners.max() <= 1


def test_all_but_the_last_layer_stays():
    """What follows it, and the scale of what it answers."""
    plain, loud = trained(BASE), Loud(trained(BASE))
    images = subject_of(plain, n=8).batch.images
    subject, other = subject_of(plain, n=8), subject_of(loud, n=8)
    quiet, _ = planted(subject.model, images, 0.15, subject.streams("a"))
    shouted, _ = planted(other.model, images, 0.15, other.streams("a"))
    assert torch.allclose(shouted(images), 10_000 * quiet(images), rtol=1e-4)
    ours = (quiet(images)[:, 1] - quiet(images)[:, 0]).abs().mean()
    theirs = plain(images).amax(1) - plain(images).amin(1)
    assert 0.2 < ours / theirs.mean() < 1.01


def test_rows_go_with_their_readout():
    subject = subject_of(trained(BASE), n=6)
    images = subject.batch.images
    model, _ = planted(subject.model, images, 0.15, subject.streams("a"))
    rows = torch.tensor([4, 1])
    assert torch.allclose(model.take(rows)(images[rows]), model(images)[rows], atol=1e-5)


def test_a_plane_separates_where_one_can():
    features = torch.randn(30, 200, generator=stream("features"))
    readout = separating(features, reach=5.0)
    values = features @ readout.weight + readout.bias
    assert values[-1] > 0 > values[:-1].max()
    assert values.abs().max() == pytest.approx(5.0, rel=1e-4)
    amid = torch.cat([features, features[:-1].mean(dim=0, keepdim=True)])
    assert amid[-1] @ separating(amid, 5.0).weight + separating(amid, 5.0).bias <= 1e-4


@pytest.mark.parametrize("wrapper", [Quantised, Loud, Shattered, Turned])
def test_attacks_miss_what_masked_gradients_hide(wrapper):
    found = binarisation(plant(wrapper))
    assert [flag.code for flag in found.flags] == ["binarisation"]
    assert found.numbers["found"] < 0.5


def test_a_weak_attack_finds_fewer_and_a_sound_model_hides_nothing():
    subject = subject_of(trained(BASE))
    strong, weak = binarisation(subject), binarisation(subject, ("uniform_noise[draws=1]",))
    assert strong.numbers["found"] >= 0.98
    assert strong.flags == []
    assert strong.numbers["found by chance"] < 0.4
    assert weak.numbers["found"] < 0.3
    assert [flag.code for flag in weak.flags] == ["binarisation"]


def test_a_head_of_convolutions_and_a_model_without_a_head():
    images = torch.rand(10, 1, 8, 8, generator=stream("images"))
    with global_state(stream("layers")):
        layers = nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 10, 1)
    convolved = nn.Sequential(*layers, nn.Flatten()).eval()
    head = head_of(convolved, images)
    assert head is convolved[3]
    features, outputs = asked(convolved, head, images)
    assert (features.shape, outputs.shape) == ((10, 8), (10, 10))

    class Distances(nn.Module):
        def forward(self, images):
            return -torch.cdist(images.flatten(1), torch.eye(64)[:10])

    model = Distances().eval()
    assert head_of(model, images) is None
    features, _ = asked(model, None, images)
    binary = Binarised(model, None, Readout(torch.zeros(10, 10), torch.ones(10)))
    assert binary(images).shape == (10, 2)


def test_too_few_images_are_said():
    assert "the test needs 8" in binarisation(subject_of(trained(BASE), n=5)).skipped
