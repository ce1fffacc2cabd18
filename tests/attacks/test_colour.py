"""Colours and tones: the formulas, NumPy and colorsys, a brute-force search of each set."""

import colorsys
import itertools

import numpy as np
import pytest
import torch
from finite_sets import check_search, check_set, images

from attacks.colour import ChannelBalance, HueSaturation, Tint, tinted
from attacks.tone import Gamma, ToneCurve
from benchmark.core.errors import UsageError

COLOUR = [HueSaturation(60, 0.5, 5, 3), ChannelBalance(0.3, 3)]
TONE = [Gamma(2.0, 5), ToneCurve(0.2, 2, 3), ToneCurve(0.1, 1, 5)]
LUMA = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)


def muted(*size):
    """Colours so near to grey that none is cut."""
    return images(3, 3, *size) * 0.2 + 0.4


@pytest.mark.parametrize("turn", [360, -360, 720])
def test_a_whole_turn_of_hue_changes_nothing(turn):
    batch = images(3, 3)
    assert torch.allclose(tinted(batch, Tint(turn, 1)), batch, atol=1e-6)


def test_turns_of_hue_add_up_and_factors_of_saturation_multiply():
    batch = muted(6, 9)
    twice = tinted(tinted(batch, Tint(25, 0.8)), Tint(-65, 1.5))
    assert torch.allclose(twice, tinted(batch, Tint(-40, 1.2)), atol=1e-6)


@pytest.mark.parametrize("tint", [Tint(90, 1), Tint(-33, 0.5), Tint(0, 2), Tint(120, 1.5)])
def test_luma_is_kept_and_grey_stays_grey(tint):
    batch = muted()
    luma = (batch * LUMA).sum(dim=1)
    assert torch.allclose((tinted(batch, tint) * LUMA).sum(dim=1), luma, atol=1e-6)
    grey = images(2).expand(-1, 3, -1, -1)
    assert torch.allclose(tinted(grey, tint), grey, atol=1e-5)


@pytest.mark.parametrize("hue", [0, 70])
def test_no_saturation_is_grey_of_the_same_luma(hue):
    batch = images(3, 3)
    grey = (batch * LUMA).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.allclose(tinted(batch, Tint(hue, 0)), grey, atol=1e-6)


def test_hue_is_the_angle_and_saturation_the_length_in_yiq():
    """The standard library's YIQ rounds the same matrix to two digits."""
    batch = muted(8, 8)[:1]
    made = tinted(batch, Tint(50, 0.7))
    for row, column in itertools.product(range(8), range(8)):
        _, *old = colorsys.rgb_to_yiq(*batch[0, :, row, column].tolist())
        _, *new = colorsys.rgb_to_yiq(*made[0, :, row, column].tolist())
        turned = complex(*old) * 0.7 * np.exp(1j * np.radians(50))
        assert abs(complex(*new) - turned) < 2e-3


def test_gamma_by_its_formula():
    batch = images(channels=2)
    threat = Gamma(3.0, 5).threat
    assert sorted(threat.grid()) == pytest.approx([1 / 3, 3**-0.5, 1, 3**0.5, 3])
    for power in threat.grid():
        assert np.allclose(threat.make(batch, power).numpy(), batch.numpy() ** power, atol=1e-6)
    ends = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1)
    assert torch.equal(threat.make(ends, 3.0), ends)


def test_numpy_bends_tones_alike_and_every_curve_rises():
    batch, threat = images(channels=3), ToneCurve(0.25, 3, 5).threat
    knots = np.linspace(0, 1, 5)
    for curve in threat.grid():
        values = knots + np.array([0, *curve, 0])
        assert (np.diff(values) >= -1e-9).all() and values.min() >= 0 and values.max() <= 1
        expected = np.interp(batch.numpy(), knots, values)
        assert np.allclose(threat.make(batch, curve).numpy(), expected, atol=1e-6)


def test_curves_that_fall_are_left_out_and_no_others():
    assert len(ToneCurve(0.1, 3, 5).threat.grid()) == 5**3
    assert (0.3, -0.3) not in ToneCurve(0.3, 2, 3).threat.grid()
    assert set(ToneCurve(0.3, 2, 3).threat.grid()) == {
        (one, two) for one in (-0.3, 0.0, 0.3) for two in (-0.3, 0.0, 0.3) if two - one > -0.4
    }


def test_channels_are_scaled_apart():
    batch = images(3, 3)
    made = ChannelBalance(0.5).threat.make(batch, (0.5, 1.0, 1.5))
    assert torch.equal(made[:, 0], batch[:, 0] / 2)
    assert torch.equal(made[:, 1], batch[:, 1])
    assert torch.equal(made[:, 2], (batch[:, 2] * 1.5).clamp(max=1))


@pytest.mark.parametrize("attack", COLOUR + TONE, ids=str)
@pytest.mark.parametrize("size", [(8, 8), (6, 11)])
def test_each_set_is_what_it_says(attack, size):
    check_set(attack, images(3, 3, *size))


@pytest.mark.parametrize("attack", TONE, ids=str)
def test_tones_need_no_colour(attack):
    check_set(attack, images(3, 1))


@pytest.mark.parametrize("attack", COLOUR + TONE, ids=str)
def test_the_whole_set_is_searched(attack):
    check_search(attack, images(40, 3))


def test_grey_twice_is_tried_once():
    grid = HueSaturation(60, 1.0, 5, 3).threat.grid()
    assert sum(tint.saturation == 0 for tint in grid) == 1
    assert len(grid) == 5 * 2 + 1


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (HueSaturation(60, 0.5, 3, 3), HueSaturation(61, 0.5, 3, 3)),
        (HueSaturation(60, 0.5, 3, 3), HueSaturation(60, 0.52, 3, 3)),
        (ChannelBalance(0.3, 3), ChannelBalance(0.305, 3)),
        (Gamma(2.0, 3), Gamma(2.02, 3)),
        (ToneCurve(0.1, 2, 3), ToneCurve(0.102, 2, 3)),
    ],
)
def test_what_goes_further_is_outside(small, large):
    batch = images(3, 3)
    beyond = large.threat.make(batch, large.threat.grid()[1])
    assert large.threat.inside(batch, beyond).all()
    assert not small.threat.inside(batch, beyond).any()


@pytest.mark.parametrize("attack", COLOUR, ids=str)
def test_colour_needs_three_channels(attack):
    assert "3 channels" in attack.cannot_run((1, 8, 8), 10)
    assert attack.cannot_run((3, 8, 8), 10) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: HueSaturation(-1, 0.5),
        lambda: HueSaturation(180, 0.5),
        lambda: HueSaturation(60, 1.5),
        lambda: HueSaturation(60, 0.5, hues=4),
        lambda: HueSaturation(60, 0.5, saturations=0),
        lambda: ChannelBalance(1.0),
        lambda: ChannelBalance(0.3, steps=2),
        lambda: Gamma(0.5),
        lambda: Gamma(2.0, exponents=4),
        lambda: ToneCurve(0.1, points=0),
        lambda: ToneCurve(0.1, steps=2),
        lambda: ToneCurve(1.1),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(make):
    with pytest.raises(UsageError, match="expected"):
        make()
