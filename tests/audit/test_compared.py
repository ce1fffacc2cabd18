"""When one attack breaks more than another, and not by chance."""

import pytest
import torch
from scipy.stats import binomtest

from benchmark.audit.compared import gain


def standing(n, broken):
    rows = torch.ones(n, dtype=torch.bool)
    rows[list(broken)] = False
    return rows


def test_seven_to_none_is_no_chance_and_six_is():
    everyone = standing(100, [])
    assert gain(everyone, standing(100, range(7))) == pytest.approx(0.07)
    assert gain(everyone, standing(100, range(6))) is None


def test_what_the_usual_attack_alone_breaks_counts_against_it():
    usual, other = standing(100, range(50, 55)), standing(100, range(20))
    assert binomtest(20, 25, alternative="greater").pvalue < 0.01
    assert gain(usual, other) == pytest.approx(0.15)
    assert gain(standing(100, range(50, 60)), other) is None, "20 against 10"


def test_a_sure_but_tiny_gain_is_none():
    assert gain(standing(1000, []), standing(1000, range(19))) is None
    assert gain(standing(1000, []), standing(1000, range(20))) == pytest.approx(0.02)


@pytest.mark.parametrize("n", [0, 1])
def test_of_no_image_and_of_one_nothing_is_said(n):
    assert gain(standing(n, []), standing(n, range(n))) is None
