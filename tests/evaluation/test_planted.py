"""Planted defenses that look robust are flagged by the name of the reason, sound ones are not."""

from __future__ import annotations

import warnings

import pytest
from planted_models import BROKEN, SOUND, broken

from benchmark.data.load import load
from benchmark.evaluation.probe import probe
from benchmark.evaluation.verdicts import frozen
from benchmark.results.flags import KINDS


def codes(model):
    """What the first look at a model finds."""
    batch = load("digits", None, False, 0).validation.first(100).batch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch, of its own fast path
        return [flag.code for flag in probe(frozen(model), batch, 10).flags]


@pytest.mark.parametrize("name", BROKEN)
def test_a_planted_defense_is_named(name):
    assert BROKEN[name][1] in codes(broken(name))


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_one_is_not(name):
    assert codes(SOUND[name]()) == []


def test_every_flag_of_the_planted_is_explained():
    assert {code for _, code in BROKEN.values()} <= KINDS.keys()


@pytest.mark.parametrize("name", BROKEN)
def test_a_number_that_is_told_is_beyond_its_threshold(name):
    batch = load("digits", None, False, 0).validation.first(100).batch()
    for flag in probe(frozen(broken(name)), batch, 10).flags:
        assert (flag.value is None) == (flag.threshold is None), flag
        assert flag.value is None or flag.value >= flag.threshold, flag
