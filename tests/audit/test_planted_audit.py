"""Every part of the audit over every planted model, with attacks that are cheaper than usual."""

import warnings
from dataclasses import replace

import pytest
from audit_subjects import digits, subject_of
from planted_models import BROKEN, SOUND, WINNERS, broken

from benchmark.audit import curves, sanity, verdict_noise
from benchmark.audit.parts import PARTS
from benchmark.evaluation.probe import probe

IMAGES = 40
EXPECTED = {name: code for name, (_, code) in BROKEN.items()} | {WINNERS: "binarisation"}
"""Of k-winners-take-all no first look can tell: over small steps its slopes are right."""


@pytest.fixture
def cheap(monkeypatch):
    blind = {"square": ("aa_square[queries=200]",), "rays": ("rays[queries=200]",)}
    monkeypatch.setattr(sanity, "BLIND", blind)
    monkeypatch.setattr(curves, "STEPS", (1, 10, 40))
    monkeypatch.setattr(sanity, "MORE", {"twice the steps": ("pgd_linf[steps=80]",)})
    attacks = ("pgd_linf[steps=10]", "aa_square[queries=50]")
    monkeypatch.setattr(verdict_noise, "ATTACKS", attacks)


def codes(model):
    """By part, what it finds; none may raise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch, of its own fast path
        asked = subject_of(model, IMAGES)
        seen = probe(asked.model, digits().validation.first(100).batch(), asked.classes)
        known = asked.trained._replace(
            found=tuple(seen.flags), flags=[*map(str, seen.flags)], gradient=seen.gradient
        )
        asked = replace(asked, trained=known)
        return {name: {flag.code for flag in part(asked).flags} for name, part in PARTS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_a_planted_defense_is_named(name, cheap):
    found = codes(broken(name))
    assert EXPECTED[name] in set.union(*found.values()), found


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_no_part_doubts_a_sound_one(name, cheap):
    assert not any(codes(SOUND[name]()).values())
