"""Larger and longer attacks must not leave more images standing."""

import torch
from audit_subjects import BASE, Guarded, planted, subject_of
from planted_models import trained

from benchmark.audit.curves import curves, rises


def curve(*counts, n=100):
    return {str(place): torch.arange(n) < count for place, count in enumerate(counts)}


def test_a_falling_curve_and_a_wobble_are_none():
    assert rises(curve(98, 90, 50, 52, 50, 0)) == []


def test_a_rise_after_the_best_place_is_found_wherever_it_is():
    (flag,) = rises(curve(98, 40, 45, 50))
    assert flag.code == "not monotone"
    assert "at 2 5.0%" not in flag.message, "5 images may be chance"
    assert flag.message == "at 3 10.0% of images more stand than at 1"


def test_a_model_that_hides_its_gradients_from_large_attacks_is_flagged():
    (flag,) = curves(planted(Guarded)).flags
    assert flag.message.startswith("at eps 0.3 ")
    assert flag.message.endswith("of images more stand than at eps 0.15")


def test_every_place_of_both_curves_is_measured():
    found = curves(subject_of(trained(BASE), n=20))
    assert found.flags == []
    assert list(found.numbers)[:2] == ["eps 0", "eps 0.0375"]
    assert found.numbers["eps 1"] == 0
    assert list(found.numbers)[-2:] == ["40 steps", "100 steps"]
