"""Targeted FAB and its projections against their authors' code."""

from __future__ import annotations

import pytest
import torch
from attack_tasks import dealt

from attacks.autoattack.fab import FABTargetedL2, FABTargetedLinf, Walk, size, stepped
from attacks.autoattack.hyperplane import to_hyperplane
from benchmark.contracts.toys import conv_net, some_images
from benchmark.core.seeding import stream

fab = pytest.importorskip("pyautoattack.fab_pt")
projections = pytest.importorskip("pyautoattack.fab_projections")
NORMS = {"linf": projections.projection_linf, "l2": projections.projection_l2}
PARTS = {"linf": (FABTargetedLinf, "Linf", 0.03), "l2": (FABTargetedL2, "L2", 0.12)}


def points_and_planes(reach):
    """Points with many pixels at the edges, planes with zeros; `reach` in shares of the room."""
    rng = stream("planes")
    points = (torch.rand(300, 48, generator=rng) * 1.6 - 0.3).clamp(0, 1)
    weights = torch.randn(300, 48, generator=rng)
    weights[:, ::7] = 0
    sign = 2 * torch.randint(2, (300,), generator=rng) - 1
    towards = sign[:, None] * weights
    room = (towards.abs() * torch.where(towards < 0, 1 - points, points)).sum(dim=1)
    return points, weights, sign * reach * room


@pytest.mark.parametrize("reach", [0.001, 0.1, 0.5, 0.9, 2.0])
@pytest.mark.parametrize("norm", NORMS)
def test_projections_are_the_authors(norm, reach):
    points, weights, excess = points_and_planes(reach)
    found = to_hyperplane(points, weights, excess, norm)
    offset = (points * weights).sum(dim=1) - excess
    assert torch.allclose(found, NORMS[norm](points, weights, offset), atol=2e-5)
    assert ((points + found >= -1e-6) & (points + found <= 1 + 1e-6)).all()
    missing = ((weights * found).sum(dim=1) + excess) / excess
    assert missing.abs() == pytest.approx(max(0, 1 - 1 / reach), abs=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_no_other_point_of_the_plane_is_nearer(norm):
    """Moving along the plane, inside the box, never makes the projection smaller."""
    points, weights, excess = points_and_planes(0.3)
    found = to_hyperplane(points, weights, excess, norm).double()
    rng = stream("elsewhere")
    for _ in range(20):
        aside = torch.randn(found.shape, generator=rng).double()
        aside -= (aside * weights).sum(1, keepdim=True) / weights.square().sum(1)[:, None] * weights
        other = found + 1e-3 * aside
        inside = ((points + other >= 0) & (points + other <= 1)).all(dim=1)
        assert (size(other, norm) >= size(found, norm) - 1e-6)[inside].all()


def test_a_plane_with_no_direction_moves_nothing():
    points = torch.rand(3, 5, generator=stream("points"))
    for norm in NORMS:
        assert not to_hyperplane(points, torch.zeros(3, 5), torch.ones(3), norm).any()


@pytest.mark.parametrize("norm", PARTS)
def test_the_same_images_are_broken(norm):
    part, their_norm, eps = PARTS[norm]
    model = conv_net((3, 8, 8), 10).requires_grad_(False)
    images, labels = some_images(model, (3, 8, 8), 60)
    found = part(eps, iterations=20, targets=4).perturb(
        model, images, labels, "verdict", dealt(labels, "fab")
    )
    library = fab.FABAttack_PT(
        model, n_iter=20, norm=their_norm, eps=eps, targeted=True, n_target_classes=4, device="cpu"
    )
    with torch.random.fork_rng():  # it seeds the global generator
        theirs = library.perturb(images, labels)
    ours, reference = (model(x).argmax(dim=1) != labels for x in (found, theirs))
    assert 5 < int(reference.sum()) < 55
    assert int((ours ^ reference).sum()) <= 1
    assert (size(found - images, norm) <= eps * (1 + 1e-5)).all()


@pytest.mark.parametrize("norm", PARTS)
def test_one_step_is_a_little_beyond_the_boundary_of_a_linear_model(norm):
    """From the image itself both projections are the same, and end 5% beyond."""
    weights = torch.randn(30, 12, generator=stream("weights"))
    images = torch.full((30, 12), 0.5)
    lead = -0.1 * weights.abs().sum(dim=1)
    walk = Walk(torch.arange(30), torch.zeros(30).long(), images, images)
    moved = stepped(walk, lead, weights, norm)
    assert torch.allclose(((moved - images) * weights).sum(dim=1), -1.05 * lead, rtol=1e-4)
