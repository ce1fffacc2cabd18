"""Square against its authors' code, and the queries it does not have to ask."""

from __future__ import annotations

import pytest
import torch
from attack_tasks import dealt

from attacks.autoattack import square_linf as linf_module
from attacks.autoattack.square import SquareL2, SquareLinf
from attacks.autoattack.square_l2 import ActiveImages, _proposed
from attacks.autoattack.square_windows import (
    bumps,
    corner,
    phase_of,
    side_of,
    tiles,
    window,
)
from attacks.engine.losses import margin_of
from benchmark.contracts.toys import conv_net, some_images
from benchmark.core.seeding import stream
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import Meter, correct, run_attack

theirs = pytest.importorskip("pyautoattack.square")


def library(norm, **options):
    return theirs.SquareAttack(
        None, norm=norm, eps=options.pop("eps", 1.0), resc_schedule=False, device="cpu", **options
    )


def test_the_squares_shrink_as_published():
    attack = library("Linf")
    for query in (0, 10, 11, 50, 51, 200, 201, 501, 1001, 2000, 2001, 4001, 4999, 6001, 8001, 9999):
        assert attack.p_selection(query) == pytest.approx(0.8 / 2 ** phase_of(query))
    assert [side_of(q, 28, 28, "linf") for q in (0, 100, 1500, 4500)] == [25, 13, 4, 2]
    assert [side_of(q, 28, 28, "l2") for q in (0, 100, 1500, 4500)] == [25, 13, 5, 3]
    assert side_of(0, 3, 3, "l2") == 3


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 13, 25])
def test_the_bumps_are_the_published_ones(side):
    with torch.random.fork_rng():
        pattern = library("L2").eta(side).flatten()
    assert min(float((pattern - ours).abs().max()) for ours in bumps(side)) < 1e-6
    assert bumps(side).norm(dim=1) == pytest.approx(1, abs=1e-5)


def test_the_grid_is_the_published_one():
    assert len(tiles(32, 32)) == len(tiles(28, 28)) == 25
    assert (tiles(32, 32)[0], tiles(32, 32)[-1]) == ((1, 1, 6), (25, 25, 6))


def test_a_window_holds_the_pixels_of_its_square():
    top, left, side = (torch.tensor(x) for x in ([1, 0], [2, 3], [2, 1]))
    places = window(top, left, side, 2, 5)
    assert [sorted(set(row)) for row in places.tolist()] == [[7, 8, 12, 13], [3]]


def test_corners_are_spread_as_published():
    """The library draws rows 0 to height - side - 1: never the last one."""
    uniform = torch.rand(10000, generator=stream("corners"))
    assert sorted(set(corner(uniform, 8, 3).tolist())) == [0, 1, 2, 3, 4]
    assert not corner(uniform, 8, 8).any()


def test_the_margin_is_the_published_one():
    model = conv_net((1, 8, 8), 10)
    images, labels = some_images(model, (1, 8, 8), 50, wrong=10)
    attack = library("Linf")
    attack.predict = model
    assert torch.allclose(
        margin_of(model(images), labels), attack.margin_and_loss(images, labels)[0]
    )


def broken(attack, model, batch, goal="verdict", meter=None, names="square"):
    rng = dealt(batch.labels, names)
    images = run_attack(attack, model, batch, goal, meter or Meter(), rng).images
    return ~correct(model, Batch(images, batch.labels))


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.08), ("l2", 0.6)])
def test_it_breaks_about_as_many_as_the_authors(norm, eps):
    model = conv_net((1, 8, 8), 10).requires_grad_(False)
    batch = some_images(model, (1, 8, 8), 300)
    ours = broken({"linf": SquareLinf, "l2": SquareL2}[norm](eps, queries=60), model, batch)
    attack = library({"linf": "Linf", "l2": "L2"}[norm], eps=eps, n_queries=60)
    attack.predict = model
    with torch.random.fork_rng():
        perturbed = attack.perturb(batch.images, batch.labels)
    reference = model(perturbed).argmax(dim=1) != batch.labels
    assert 0.2 < float(reference.float().mean()) < 0.8
    assert float(ours.float().mean()) == pytest.approx(float(reference.float().mean()), abs=0.08)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_not_asked_changes_nothing(channels, monkeypatch):
    """With the look-ahead off, every query is asked: the same images break, at a higher cost."""
    model = conv_net((channels, 8, 8), 10)
    batch = some_images(model, (channels, 8, 8), 60)
    quick, full = Meter(), Meter()
    attack = SquareLinf(0.02, queries=800)
    found = broken(attack, model, batch, meter=quick)
    monkeypatch.setattr(linf_module, "LOOK", 0)
    assert torch.equal(found, broken(attack, model, batch, meter=full))
    assert 5 < int(found.sum()) < 55
    assert quick.forwards < (0.6 if channels == 1 else 1) * full.forwards


def test_l2_proposals_keep_the_size_of_the_perturbation():
    images = torch.full((20, 3, 12, 12), 0.5)
    point = images + 0.01 * torch.randn(images.shape, generator=stream("point"))
    point = images + 0.4 * (point - images) / (point - images).flatten(1).norm(dim=1).view(
        -1, 1, 1, 1
    )
    draws = torch.rand(20, 8, generator=stream("draws"))
    state = ActiveImages(torch.arange(20), images, point, torch.zeros(20), draws)
    for side in (3, 5, 11):
        moved = _proposed(state, draws, side, 0.4) - images
        assert moved.flatten(1).norm(dim=1) == pytest.approx(0.4, rel=1e-4)
        changed = (moved != point - images).flatten(2).any(dim=1).sum(dim=1)
        assert (changed > 0).all()
