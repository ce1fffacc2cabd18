"""Foolbox beside our own attacks, where it is installed; else the line that installs it."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from references import STRENGTHS, check_names, check_strength

from attacks.build import build_attack
from attacks.libraries import foolbox_adapter
from attacks.libraries.foolbox_adapter import INSTALL
from benchmark.core.streams import Streams

OURS = {
    "fb_fgsm": "fgsm", "fb_pgd": "pgd_linf", "fb_pgd_l2": "pgd_l2", "fb_deepfool": "deepfool",
    "fb_deepfool_linf": "pgd_linf", "fb_cw[steps=50,searches=4]": "pgd_l2",
    "fb_ead[steps=50,searches=6]": "", "fb_boundary[steps=500,eps=2]": "",
    "fb_hop_skip_jump[steps=5,eps=2]": "",
}  # fmt: skip
MINIMUM = ["fb_deepfool", "fb_cw", "fb_ead", "fb_boundary", "fb_hop_skip_jump"]


def needed():
    pytest.importorskip("foolbox", reason=f"needs {INSTALL}")


@pytest.mark.extra
@pytest.mark.parametrize("text", OURS)
def test_it_breaks_about_what_ours_does(text):
    needed()
    check_strength(text, OURS[text])


@pytest.mark.extra
@pytest.mark.parametrize("name", MINIMUM)
def test_what_nothing_breaks_stays_as_it_is(name):
    """The library gives black images back, or refuses the whole batch."""
    needed()
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    attack, labels = build_attack(f"{name}[steps=2]", STRENGTHS), torch.zeros(3, dtype=torch.int64)
    found = attack.perturb(AlwaysZero(), images, labels, "examples", Streams.named(3, name))
    assert torch.equal(found, images)


class AlwaysZero(torch.nn.Module):
    def forward(self, images):
        logits = 0 * images.flatten(1)[:, :10]
        return logits + torch.eye(10)[0]


def test_where_it_is_missing_the_line_that_installs_it_is_said():
    check_names([*OURS], find_spec("foolbox") is not None, INSTALL, foolbox_adapter.__doc__)
