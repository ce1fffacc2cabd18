"""Larger and longer attacks must not leave more images standing."""

import torch
from audit_subjects import Sure, subject_of, trained

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


def test_a_model_that_gives_gradients_near_the_boundary_alone_is_flagged():
    found = curves(subject_of(Sure(trained("standard[epochs=6]"))))
    assert {flag.code for flag in found.flags} == {"not monotone"}


def test_every_place_of_both_curves_is_measured():
    found = curves(subject_of(trained("standard[epochs=6]"), n=20))
    assert found.flags == []
    assert list(found.numbers)[:2] == ["eps 0", "eps 0.0375"]
    assert found.numbers["eps 1"] == 0
    assert found.numbers["eps 0.15"] == found.numbers["40 steps"] or "40 steps" in found.numbers
