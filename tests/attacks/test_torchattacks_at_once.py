"""What we run on all images at once, against the library's own code, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attack_tasks import images_for, network
from torch import nn

from attacks.libraries.model_proxy import WatchedProxy
from attacks.libraries.torchattacks_boundary import cross, deepfool, jsma, sparsefool
from attacks.libraries.torchattacks_pixels import copied, mutated, onepixel, painted, pixle
from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Batch, NormBall

torchattacks = pytest.importorskip("torchattacks")


class Whole(nn.Module):
    """In float64, where rounding cannot turn a decision."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.network = network(channels).double()

    def forward(self, images):
        assert len(images), "nobody asks about nothing"
        return self.network(images)


def task(channels: int, n: int):
    model = Whole(channels).eval().requires_grad_(False)
    images, _ = images_for(network(channels), channels, n)
    images = images.double()
    batch = Batch(images, model(images).argmax(dim=1))
    nothing_counts = NormBall("linf", 0.0)
    watched = WatchedProxy(model, batch, nothing_counts, positive=False, saves=False, ends=False)
    return watched, *batch


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).abs().max())


@pytest.mark.parametrize("channels", [1, 3])
def test_deepfool(channels):
    """The library's way, then the overshoot of the paper: x + 1.02 (x_adv - x)."""
    model, images, labels = task(channels, 20)
    library = torchattacks.DeepFool(model, steps=50, overshoot=0.02)
    expected = images + 1.02 * (library(images, labels) - images)
    got = deepfool(library, images, labels)
    assert difference(got, expected.clamp(0, 1)) < 1e-4
    assert (model(got).argmax(dim=1) != labels).all()


@pytest.mark.parametrize("run", [deepfool, sparsefool, jsma])
def test_images_that_nothing_moves(run):
    """Zero gradients: the run ends, and returns no image that counts."""
    model, images, labels = task(1, 3)
    with torch.no_grad():
        model.held[0].network[-1].weight.zero_()
    labels = model.held[0](images).argmax(dim=1)
    model.batch = Batch(images, labels)
    library = {
        deepfool: torchattacks.DeepFool(model, steps=4),
        sparsefool: torchattacks.SparseFool(model, steps=2),
        jsma: torchattacks.JSMA(model, theta=1.0, gamma=0.1),
    }[run]
    got = run(library, images, labels)
    assert got.shape == images.shape
    assert not model.broken.any()


def test_deepfool_out_of_steps():
    model, images, labels = task(1, 20)
    library = torchattacks.DeepFool(model, steps=1, overshoot=0.02)
    expected = images + 1.02 * (library(images, labels) - images)
    assert difference(deepfool(library, images, labels), expected.clamp(0, 1)) < 1e-12


@pytest.mark.parametrize(("channels", "steps"), [(1, 3), (3, 2)])
def test_sparsefool(channels, steps):
    model, images, labels = task(channels, 12)
    library = torchattacks.SparseFool(model, steps=steps, lam=1.2, overshoot=0.02)
    library.deepfool.steps, library.deepfool.overshoot = 50, 0.02
    expected = library(images, labels)
    got = sparsefool(library, images, labels)
    assert difference(got, expected) < 1e-4
    assert (got != images).flatten(1).any(dim=1).all()


def test_crossing_a_plane_where_no_coordinate_is_left():
    """The library's solver, one image at a time; one plane is out of reach, one has no normal."""
    library = torchattacks.SparseFool(network(1))
    images = torch.full((3, 1, 2, 2), 0.5, dtype=torch.float64)
    normals = torch.rand(3, 1, 2, 2, generator=stream("normals"), dtype=torch.float64) - 0.5
    points = images + torch.tensor([0.3, 50.0, 0.3]).view(3, 1, 1, 1) * normals
    normals[2] = torch.nan
    got = cross(images, normals, points)
    for row in range(3):
        expected = library._linear_solver(
            images[row : row + 1], normals[row : row + 1].clone(), points[row : row + 1]
        )
        assert torch.allclose(got[row : row + 1], expected, rtol=0, atol=1e-12, equal_nan=True)
    assert (got[1] != images[1]).all()
    assert got[2].isnan().all()


@pytest.mark.parametrize(("theta", "pairs"), [(1.0, 1), (1.0, 3), (-1.0, 2)])
def test_jsma(theta, pairs):
    model, images, labels = task(1, 12)
    library = torchattacks.JSMA(model, theta=theta, gamma=(2 * pairs - 0.5) / 64)
    targets = model(images).scatter(1, labels[:, None], -torch.inf).argmax(dim=1)
    library.set_mode_targeted_by_function(lambda images, labels: targets, quiet=True)
    expected = library(images, labels)
    assert difference(jsma(library, images, labels), expected) == 0
    assert (expected != images).flatten(1).any(dim=1).sum() > 6


@pytest.mark.parametrize("tries", [1, 6])
def test_pixle(tries):
    """From the same state of NumPy's generator, for single images: the library's candidates."""
    model, _, _ = task(3, 1)
    images = torch.rand(12, 3, 8, 8, generator=stream("pixle"), dtype=torch.float64)
    labels = model(images).argmax(dim=1)  # no two pixels are equal: no ties
    library = torchattacks.Pixle(
        model, x_dimensions=(1, 1), y_dimensions=(1, 1), restarts=3, max_iterations=tries
    )
    moved = 0
    for row in range(12):
        one = Batch(images[row : row + 1], labels[row : row + 1])
        results = []
        for run in (library, lambda *batch: pixle(library, *batch)):
            library.model = WatchedProxy(
                model.held[0], one, NormBall("l0", 64), positive=False, saves=False, ends=False
            )
            with global_state(stream("pixle", row)):
                found = run(*one)
            library.model.ends = True  # the first success is what counts
            results.append(library.model.settle(found))
        assert torch.equal(*results)
        moved += not torch.equal(results[0], one.images)
    assert moved == 12


def test_pixle_deals_to_each_image():
    """A batch of twins: each gets candidates of its own."""
    model, images, labels = task(1, 1)
    twins = Batch(images.repeat(4, 1, 1, 1), labels.repeat(4))
    library = torchattacks.Pixle(
        WatchedProxy(
            model.held[0], twins, NormBall("l0", 0), positive=False, saves=False, ends=False
        ),
        x_dimensions=(1, 1), y_dimensions=(1, 1), restarts=1, max_iterations=2,
    )  # fmt: skip
    with global_state(stream("twins")):
        assert len(pixle(library, *twins).flatten(1).unique(dim=0)) > 1


def test_copied_pixels_go_where_they_should():
    sources = torch.arange(12.0).view(1, 1, 3, 4)
    places = torch.tensor([[[3, 1, 2, 0], [0, 0, 0, 1]]])  # from column 3, row 1 to row 2, column 0
    candidates = copied(sources, -torch.ones(1, 1, 3, 4), places)
    assert candidates.shape == (1, 2, 1, 3, 4)
    assert candidates[0, 0, 0, 2, 0] == 7
    assert candidates[0, 1, 0, 0, 1] == 0
    assert (candidates == -1).flatten(2).sum(dim=2).tolist() == [[11, 11]]


def test_painted_pixels_are_the_library_s():
    library = torchattacks.OnePixel(network(3), pixels=2)
    images = torch.rand(2, 3, 5, 5, generator=stream("painted"))
    people = torch.rand(2, 4, 10, generator=stream("people"))
    got = painted(images, people, 2)
    bounds = np.array(([5, 5, 1, 1, 1]) * 2)
    for row in range(2):
        expected = library._perturb(images[row : row + 1], people[row].numpy() * bounds)
        assert difference(got[row], expected) < 1e-6


def test_mutations_add_the_difference_of_two_others_to_the_best():
    """Members far apart: a trial tells from which it was made. The best is member 1."""
    people = torch.tensor([0.40, 0.50, 0.4001, 0.403]).view(1, 4, 1).repeat(200, 1, 1)
    energy = torch.tensor([3.0, 1.0, 2.0, 4.0]).repeat(200, 1)
    with global_state(stream("mutation")):
        trials = mutated(people, energy)
    gaps = (people - people.transpose(1, 2)).flatten(1)[0].unique()
    assert trials.min() >= 0
    assert trials.max() <= 1
    steps = trials - 0.5
    reachable = (gaps.abs().max() >= steps.abs()).all()
    assert reachable
    # of members 0, 2 and 3 none has gaps above 0.1; without member 1 there are only small ones
    assert steps[:, 1].abs().max() <= 0.0031
    assert (steps.abs() >= 0.5 * gaps[gaps > 0].min() - 1e-6).all(), "two different members"
    assert steps[:, 0].abs().max() > 0.05, "member 1 takes part elsewhere"


def test_onepixel_breaks_as_many_as_the_library():
    """The same evolution on other draws: over 60 runs the rates agree within three deviations."""
    model, images, labels = task(1, 30)
    library = torchattacks.OnePixel(model, pixels=1, steps=3, popsize=12, inf_batch=50)
    counts = []
    for run in (library, lambda *batch: onepixel(library, *batch)):
        total = 0
        for turn in range(2):
            library.model = WatchedProxy(
                model.held[0], Batch(images, labels), NormBall("l0", 1),
                positive=False, saves=False, ends=False,
            )  # fmt: skip
            with global_state(stream("onepixel", turn)):
                found = library.model.settle(run(images, labels))
            total += int((model(found).argmax(dim=1) != labels).sum())
        counts.append(total)
    assert min(counts) > 10
    assert max(counts) < 50
    assert abs(counts[0] - counts[1]) < 3 * (60 * 0.25 * 2) ** 0.5
