"""Balls, projections, steps and random starts against solvers, duality and distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attack_tasks import dealt
from scipy import optimize, stats

from attacks.engine.geometry import ascent, project, random_start
from benchmark.core.seeding import stream
from benchmark.core.types import NormBall, distance

NORMS = ["linf", "l2", "l1"]


def points(n=40, size=(1, 4, 4), spread=1.0):
    rng = stream("points", n, *size)
    images = torch.rand(n, *size, generator=rng)
    return images, spread * torch.randn(n, *size, generator=rng)


def nearest(delta, image, eps):
    """The nearest point of the L1 ball and the box: a quadratic program, by SLSQP.

    Variables up, down >= 0 with point = up - down make the L1 constraint linear.
    """
    size = len(delta)
    ball = {"type": "ineq", "fun": lambda z: eps - z.sum(), "jac": lambda z: -np.ones(2 * size)}
    found = optimize.minimize(
        lambda z: (
            0.5 * ((z[:size] - z[size:] - delta) ** 2).sum(),
            np.concatenate([z[:size] - z[size:] - delta, -(z[:size] - z[size:] - delta)]),
        ),
        np.zeros(2 * size), jac=True, method="SLSQP",
        bounds=[*((0, high) for high in 1 - image), *((0, high) for high in image)],
        constraints=[ball], options={"ftol": 1e-12, "maxiter": 500},
    )  # fmt: skip
    return found.x[:size] - found.x[size:]


@pytest.mark.parametrize("eps", [0.3, 2.0, 50.0])
def test_the_l1_projection_is_the_nearest_point_of_ball_and_box(eps):
    images, delta = points(n=12)
    found = project(delta, images, eps, "l1").flatten(1).double().numpy()
    for point, start, image in zip(
        found, delta.flatten(1).double().numpy(), images.flatten(1).double().numpy(), strict=True
    ):
        assert point == pytest.approx(nearest(start, image, eps), abs=2e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps", [0.0, 0.05, 1.0, 100.0])
def test_a_projection_lands_inside_and_moves_nothing_that_was_there(norm, eps):
    images, delta = points()
    found = project(delta, images, eps, norm)
    assert NormBall(norm, eps).inside(images, images + found).all()
    assert (images + found).min() >= 0
    assert (images + found).max() <= 1
    assert torch.allclose(project(found, images, eps, norm), found, atol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_linf_and_l2_projections_are_the_textbook_ones(norm):
    images, delta = points()
    if norm == "linf":
        expected = (images + delta.clamp(-0.3, 0.3)).clamp(0, 1) - images
    else:
        size = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        expected = (images + delta * (0.3 / size).clamp(max=1)).clamp(0, 1) - images
    assert torch.allclose(project(delta, images, 0.3, norm), expected, atol=1e-6)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_a_step_has_size_one_and_climbs_as_much_as_any_can(norm, dual):
    """Hoelder: max over |step| = 1 of gradient.step is the dual norm of the gradient."""
    images, gradient = points()
    step = ascent(gradient, images, norm)
    assert torch.allclose(distance(images, images + step, norm), torch.ones(40).double(), atol=1e-5)
    climbed = (step * gradient).flatten(1).sum(dim=1)
    assert torch.allclose(climbed, gradient.flatten(1).norm(p=dual, dim=1), rtol=1e-5)


def test_an_l1_step_is_sparse_avoids_the_edge_and_takes_the_steepest():
    images, gradient = points(size=(1, 10, 10))
    images[:, :, :5] = 0.0
    step = ascent(gradient, images, "l1", share=0.05).flatten(1)
    assert torch.allclose(step.abs().sum(dim=1), torch.ones(40))
    assert ((step != 0).sum(dim=1) == 5).all()
    pixels, slope = images.flatten(1), gradient.flatten(1)
    stuck = ((pixels <= 0.01) & (slope < 0)) | ((pixels >= 0.99) & (slope > 0))
    assert not step[stuck].any()
    free = slope.abs().masked_fill(stuck, 0)
    kept = torch.where(step != 0, free, torch.inf).amin(dim=1)
    left = torch.where(step == 0, free, 0).amax(dim=1)
    assert (kept >= left).all()


def test_an_l1_step_moves_a_hundredth_of_the_numbers_and_at_least_three():
    for side, moved in ((1, 1), (8, 3), (28, 8)):
        images, gradient = points(size=(1, side, side))
        step = ascent(gradient, images * 0 + 0.5, "l1")
        assert ((step != 0).flatten(1).sum(dim=1) == moved).all()


def test_a_zero_gradient_moves_nothing():
    images, _ = points()
    for norm in NORMS:
        step = ascent(torch.zeros_like(images), images, norm)
        assert torch.equal(step, torch.zeros_like(images))


@pytest.mark.parametrize("norm", NORMS)
def test_starts_are_uniform_in_the_ball(norm):
    """The size of a uniform draw has distribution (size / eps)^dimensions; signs are fair."""
    images = torch.zeros(4000, 1, 2, 3)
    delta = random_start(images, 0.5, norm, dealt(images, "starts"))
    sizes = distance(images, delta, norm).numpy() / 0.5
    assert stats.kstest(sizes**6, "uniform").pvalue > 1e-3
    assert abs(float(delta.sign().mean())) < 0.02
    for axis in range(6):  # by symmetry no pixel differs from another
        ours, first = delta.flatten(1)[:, axis].numpy(), delta.flatten(1)[:, 0].numpy()
        assert axis == 0 or stats.ks_2samp(ours, first).pvalue > 1e-3


@pytest.mark.parametrize("norm", NORMS)
def test_starts_follow_the_stream(norm):
    images = torch.zeros(3, 1, 2, 2)
    first, same, other = (
        random_start(images, 1.0, norm, dealt(images, s)) for s in ("a", "a", "b")
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert random_start(images[:0], 1.0, norm, dealt(images[:0], "a")).shape == (0, 1, 2, 2)
