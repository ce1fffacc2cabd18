"""The attack proposes, the benchmark decides: every rule of the audit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from attacks.gradient import PGDLinf
from benchmark.core.errors import AuditError
from benchmark.core.seeding import stream
from benchmark.evaluation.verdicts import (
    audit,
)

EPS = 0.1
SHAPE = (1, 8, 8)


@dataclass(frozen=True)
class Fixed(PGDLinf):
    """Proposes what it was told to."""

    eps: float = EPS
    change: object = None

    def perturb(self, model, images, labels, goal, rng):
        return self.change(images)


class Seeking(Fixed):
    minimum_norm = True


def images(n=6):
    return 0.2 + 0.6 * torch.rand(n, *SHAPE, generator=stream("audit"))


def nan_at(where):
    def change(given):
        changed = given.clone()
        changed[where] = float("nan")
        return changed

    return change


BROKEN = [
    (lambda x: x.flatten(1), r"returned shape \(6, 64\), expected \(6, 1, 8, 8\)"),
    (lambda x: x[:-1], "returned shape"),
    (lambda x: x.double(), r"returned dtype torch.float64, expected torch.float32"),
    (lambda x: x.bfloat16(), "returned dtype"),
    (nan_at(0), "not finite"),
    (nan_at((5, 0, 7, 7)), "not finite"),
    (lambda x: x / 0, "not finite"),
    (lambda x: x - 0.3, r"pixels in \[-0.\d+, .*\], not \[0, 1\]"),
    (lambda x: x + 0.3, r"not \[0, 1\]"),
    (lambda x: x + 1.01 * EPS, r"left its budget \(linf 0.1\) on 6 of 6 images"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_the_audit_refuses(change, message):
    with pytest.raises(AuditError, match=message):
        audit(Fixed(), images(), change(images()))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x + EPS,
        lambda x: x - EPS,
        lambda x: (x + EPS).requires_grad_(),
        lambda x: x + EPS * (1 + 1e-6),
    ],
)
def test_the_audit_lets_through_what_is_inside(change):
    checked, over = audit(Fixed(), images(), change(images()))
    assert not over.any()
    assert torch.equal(checked, change(images()).detach())
    assert not checked.requires_grad


def test_rounding_outside_the_box_is_cut_off():
    given = torch.ones(2, *SHAPE)
    checked, _ = audit(Fixed(), given, given + 5e-7)
    assert checked.max() == 1


def test_one_image_over_budget_is_enough():
    proposed = images()
    proposed[3, 0, 0, 0] += 0.15
    with pytest.raises(AuditError, match="on 1 of 6 images"):
        audit(Fixed(), images(), proposed)


def test_a_minimum_norm_attack_over_budget_gets_the_original_back():
    proposed = images() + 0.05
    proposed[2] += 0.1
    checked, over = audit(Seeking(), images(), proposed)
    assert over.tolist() == [False, False, True, False, False, False]
    assert torch.equal(checked[2], images()[2])
    assert torch.equal(checked[[0, 1, 3, 4, 5]], proposed[[0, 1, 3, 4, 5]])


@pytest.mark.parametrize("change", [nan_at(0), lambda x: x.double(), lambda x: x + 0.5])
def test_a_minimum_norm_attack_is_forgiven_nothing_else(change):
    with pytest.raises(AuditError):
        audit(Seeking(), images(), change(images()))


def test_nothing_is_a_proposal_too():
    checked, over = audit(Fixed(), images(0), images(0))
    assert (checked.shape, len(over)) == ((0, *SHAPE), 0)
