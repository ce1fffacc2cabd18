"""The closed form on the linear toy, against solvers that know nothing of it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import optimize

from benchmark.contracts.toys import largest_decrease, linear_task
from benchmark.core.types import NormBall


def solve(weights, pixels, threat, channels):
    """The largest decrease of weights.x for one image: by linear or quadratic programming."""
    low, high = -pixels, 1 - pixels
    if threat.norm == "l0":  # every choice of pixels, every one of their channels at 0 or at 1
        gains = -np.minimum(weights * low, weights * high).reshape(channels, -1).sum(axis=0)
        choices = np.array(list(combinations(range(len(gains)), int(threat.eps))))
        return gains[choices].sum(axis=1).max()
    if threat.norm == "linf":
        bounds = np.stack([low.clip(-threat.eps), high.clip(max=threat.eps)], axis=1)
        return -optimize.linprog(weights, bounds=bounds).fun
    if threat.norm == "l1":  # delta = up - down
        bounds = [*((0, value) for value in high), *((0, value) for value in -low)]
        total = np.ones((1, 2 * len(pixels)))
        cost = np.concatenate([weights, -weights])
        return -optimize.linprog(cost, total, [threat.eps], bounds=bounds).fun
    ball = {
        "type": "ineq",
        "fun": lambda delta: threat.eps**2 - delta @ delta,
        "jac": lambda delta: -2 * delta,
    }
    found = optimize.minimize(
        lambda delta: (weights @ delta, weights), np.zeros(len(pixels)), jac=True,
        bounds=list(zip(low, high, strict=True)), constraints=[ball], method="SLSQP",
        options={"ftol": 1e-10},
    )  # fmt: skip
    return -found.fun


@pytest.mark.parametrize(
    ("norm", "eps", "channels"),
    [
        ("linf", 0.15, 1), ("linf", 0.8, 1), ("l2", 0.7, 1), ("l2", 4, 1), ("l1", 3, 1),
        ("l1", 3, 3), ("l0", 3, 1), ("l0", 3, 3),
    ],
)  # fmt: skip
def test_the_closed_form_agrees_with_a_solver(norm, eps, channels):
    threat = NormBall(norm, eps)
    task = linear_task(threat, channels, n=3)
    weights, pixels = task.model.weights.detach(), task.batch.images.flatten(1)
    found = largest_decrease(weights, pixels, threat, channels)
    solved = [solve(weights.double().numpy(), x, threat, channels) for x in pixels.double().numpy()]
    assert found.tolist() == pytest.approx(solved, rel=1e-5)
    margins = task.model(task.batch.images).diff(dim=1)[:, 0].neg()
    assert (margins.double() / found).tolist() == pytest.approx(task.ratio.tolist(), rel=1e-4)
