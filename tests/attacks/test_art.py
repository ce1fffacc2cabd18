"""ART beside our own attacks, where it is installed; else the line that installs it."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from references import STRENGTHS, check_names, check_strength, scored

from attacks import ATTACKS
from attacks.build import build_attack
from attacks.libraries import art_adapter
from attacks.libraries.art_adapter import INSTALL, VERSION
from attacks.libraries.art_mad import GeoDA, NewtonFool, Zoo, limited
from attacks.libraries.model_proxy import Ended
from benchmark.core.streams import Streams

OURS = {
    "newton_fool[eps=3]": "", "simba[steps=60,eps=2]": "", "geoda[queries=500,eps=3]": "",
    "shadow[steps=20,samples=4]": "",
    "art_pgd": "pgd_linf", "art_square[queries=200]": "square[queries=400]",
}  # fmt: skip


SLOW = ["universal_perturbation[steps=1]", "zoo[steps=3]", "wasserstein[steps=1,regularization=20]"]
"""Too slow to break much here: they must run, and pass the benchmark's audit."""


def needed():
    if not VERSION:
        pytest.skip(f"needs {INSTALL}")


@pytest.mark.extra
@pytest.mark.parametrize("text", OURS)
def test_it_breaks_about_what_ours_does(text):
    needed()
    check_strength(text, OURS[text], n=12)


@pytest.mark.extra
@pytest.mark.parametrize("text", SLOW)
def test_what_is_slow_runs(text):
    needed()
    assert scored(text, 2) <= scored("fgsm[eps=1e-9]", 2)


@pytest.mark.extra
def test_geoda_gives_up_where_nothing_is_wrong_and_leaves_no_file(tmp_path, monkeypatch):
    needed()
    monkeypatch.chdir(tmp_path)
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    attack, labels = GeoDA(eps=0.5, queries=20), torch.zeros(2, dtype=torch.int64)
    found = attack.perturb(AlwaysZero(), images, labels, "examples", Streams.named(2, "geoda"))
    assert torch.equal(found, images)
    assert os.listdir(tmp_path) == []


class AlwaysZero(torch.nn.Module):
    def forward(self, images):
        return images.new_zeros(len(images), 10) + torch.eye(10)[0]


def test_what_is_limited_answers_so_many_and_ends():
    asked = limited(len, 5)
    assert asked(np.zeros(3)) == 3
    assert asked(np.zeros(2)) == 2
    with pytest.raises(Ended):
        asked(np.zeros(1))


def test_where_it_is_missing_those_of_suites_can_be_planned(monkeypatch):
    monkeypatch.setattr(art_adapter, "VERSION", "")
    reason = f"needs the Adversarial Robustness Toolbox: {INSTALL}"
    assert build_attack("zoo", STRENGTHS).cannot_run((1, 8, 8), 10) == reason
    monkeypatch.setattr(ATTACKS, "_given", {})
    monkeypatch.setattr(ATTACKS, "unavailable", {})
    art_adapter.offer(Zoo, planned=True)
    art_adapter.offer(NewtonFool)
    assert ATTACKS.unavailable == {"zoo": INSTALL, "newton_fool": INSTALL}
    assert ATTACKS._given == {"zoo": Zoo}


def test_not_square_and_two_channels_are_refused(monkeypatch):
    monkeypatch.setattr(art_adapter, "VERSION", "1")
    assert build_attack("simba", STRENGTHS).cannot_run((1, 8, 9), 10) == (
        "needs square images, these are 8x9"
    )
    assert build_attack("shadow", STRENGTHS).cannot_run((2, 8, 8), 10) == (
        "needs 1 or 3 channels, images have 2"
    )


def test_where_it_is_missing_the_line_that_installs_it_is_said():
    check_names([*OURS, *SLOW], bool(VERSION), INSTALL, art_adapter.__doc__)
