"""Verdicts that flip where nothing should change them."""

from dataclasses import replace

import pytest
import torch
from audited import bare_subject, subject, trained
from torch import nn

from benchmark.audit import verdict_noise as noise
from benchmark.core.types import Batch


class Company(nn.Module):
    """Looks at how bright an image is beside the others."""

    def forward(self, images):
        bright = images.flatten(1).mean(dim=1)
        margin = 100 * (bright - bright.mean())
        return torch.stack([margin, -margin], dim=1)


@pytest.fixture
def attacks(monkeypatch):
    monkeypatch.setattr(noise, "ATTACKS", ("pgd_linf[steps=5]", "aa_square[queries=20]"))


def test_a_model_that_looks_at_the_batch_flips_with_its_size(attacks):
    shades = torch.linspace(0, 1, 99)
    images = shades.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()
    asked = bare_subject(Company(), Batch(images, (shades < 0.5).long()), 0.001)
    found = noise.verdict_noise(asked)
    assert found.numbers["pgd_linf[steps=5]: batch size"] > 0.2
    assert found.numbers["pgd_linf[steps=5]: threads"] == 0
    assert {flag.code for flag in found.flags} == {"verdict noise"}
    assert found.flags[0].message.endswith(
        "verdicts of pgd_linf[steps=5] flip with another batch size"
    )


def test_a_plain_network_does_not(attacks, tmp_path):
    found = noise.verdict_noise(subject(trained(), tmp_path, limit=60))
    assert found.flags == []
    assert found.numbers["pgd_linf[steps=5]: batch size"] == 0
    assert len(found.numbers) == 6


@pytest.mark.parametrize(
    ("cause", "flips", "flagged"),
    [
        ("batch size", 4, False), ("batch size", 5, True), ("threads", 5, True),
        ("seed", 9, False), ("seed", 17, False), ("seed", 18, True),
    ],
)  # fmt: skip
def test_how_many_flips_are_a_finding(cause, flips, flagged):
    """Of 100, half of them right: chance makes 4 of 1 %, and 17 of half the interval, 9.6 %."""
    usual = torch.arange(100) < 50
    assert bool(noise.judged("fgsm", cause, flips, usual)) == flagged


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with noise.other_threads():
        assert torch.get_num_threads() != before
    assert torch.get_num_threads() == before


def test_a_randomised_model_has_no_verdicts_to_flip():
    batch = Batch(torch.rand(8, 1, 4, 4), torch.zeros(8, dtype=torch.int64))
    asked = bare_subject(Company(), batch, 0.1, ["randomised: 5 passes disagree"])
    assert "random" in noise.verdict_noise(asked).skipped


def test_without_a_gradient_there_are_verdicts_of_attacks_that_need_none(attacks, tmp_path):
    asked = subject(trained(), tmp_path, limit=20)
    blind = replace(asked, trained=asked.trained._replace(gradient=False))
    assert {name.split(":")[0] for name in noise.verdict_noise(blind).numbers} == {
        "aa_square[queries=20]"
    }
