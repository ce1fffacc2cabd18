"""Randomised models whose accuracy under attack is known in closed form."""

import pytest
import torch
from audited import bare_subject, subject, trained
from torch import nn
from torch.distributions import Normal

from benchmark.audit.randomness import AtFixedDraw, randomness
from benchmark.core.seeding import stream
from benchmark.core.types import Batch

EPS, SD, N = 0.1, 0.5, 300


class Noisy(nn.Module):
    """Margin w.(x + sd noise - 1/2) + b: right with chance Phi(margin / (sd ||w||_2))."""

    def __init__(self, sd=SD):
        super().__init__()
        weights = torch.randn(64, generator=stream("noisy")) / 8
        self.register_buffer("weights", weights)
        self.sd = sd

    def margins(self, images):
        return (images - 0.5).flatten(1) @ self.weights + 0.8

    def forward(self, images):
        margins = self.margins(images + self.sd * torch.randn_like(images))
        return torch.stack([margins, -margins], dim=1) / 2


class Secret(Noisy):
    """A term of random sign that only moves when the image does: it averages out to nothing."""

    def forward(self, images):
        signs = torch.randint(0, 2, (len(images),)) * 2 - 1
        secret = signs * (images[:, 0, :4] - 0.5).flatten(1).sum(dim=1)
        margins = 1 + secret
        return torch.stack([margins, -margins], dim=1) / 2


class Resizing(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        scale = float(1.1 + 0.5 * torch.rand(()))
        large = nn.functional.interpolate(images, scale_factor=scale, mode="bilinear")
        return self.network(nn.functional.interpolate(large, size=(8, 8), mode="bilinear"))


def images(spread=0.2):
    drawn = torch.rand(N, 1, 8, 8, generator=stream("images"))
    return Batch(0.5 + spread * (drawn - 0.5), torch.zeros(N, dtype=torch.int64))


def test_noise_on_a_linear_model_is_no_better_than_its_formula():
    """There the draw that is known gives nothing away: EOT and fixed draws find the same."""
    model, batch = Noisy(), images()
    found = randomness(bare_subject(model, batch, EPS, ["randomised: "]))
    scale = SD * float(model.weights.norm())
    worst = model.margins(batch.images) - EPS * float(model.weights.abs().sum())
    expected = Normal(0, 1).cdf(worst / scale).mean().item()
    clean = Normal(0, 1).cdf(model.margins(batch.images) / scale).mean().item()
    assert found.numbers["clean"] == pytest.approx(clean, abs=0.04)
    assert found.numbers["expectation"] == pytest.approx(expected, abs=0.05)
    assert found.numbers["fixed draw"] == pytest.approx(expected, abs=0.06)
    assert 0.2 < expected < clean - 0.1
    assert 0 < found.numbers["expectation, sd"] < 0.06
    worst_draw = found.numbers["expectation, worst draw of each image"]
    assert worst_draw < found.numbers["expectation"] - 0.1
    assert "randomness" not in [flag.code for flag in found.flags]


def test_a_secret_that_averages_out_is_nothing_to_who_knows_it():
    """Half of the draws are right whatever is done, and none of those that are known."""
    model, batch = Secret(), images(spread=0)
    found = randomness(bare_subject(model, batch, EPS, ["randomised: "]))
    assert EPS * 32 > 1, "what the secret term can take away is more than the margin"
    assert found.numbers["clean"] == 1
    assert found.numbers["expectation"] >= 0.45
    assert found.numbers["fixed draw"] == 0
    (flag,) = (flag for flag in found.flags if flag.code == "randomness")
    assert flag.kind.broken
    assert flag.value == pytest.approx(found.numbers["expectation"])


def test_a_fixed_draw_is_the_same_for_as_many_images_and_other_for_another_seed():
    model, batch = Noisy(), images()
    first, again, other = (AtFixedDraw(model, seed)(batch.images) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_model_with_generators_of_its_own_cannot_be_held(tmp_path):
    class Own(Noisy):
        def forward(self, images):
            noise = torch.randn(images.shape, generator=GENERATOR)
            margins = self.margins(images + self.sd * noise)
            return torch.stack([margins, -margins], dim=1) / 2

    found = randomness(bare_subject(Own(), images(), EPS, ["randomised: "]))
    assert found.numbers["fixed draw"] is None
    assert "randomness" not in [flag.code for flag in found.flags]


GENERATOR = stream("own")


def test_random_resizing_falls_to_attacks_on_the_expectation(tmp_path):
    found = randomness(subject(Resizing(trained()), tmp_path))
    assert "expectation" in [flag.code for flag in found.flags]
    assert found.numbers["expectation"] < found.numbers["attacked"] - 0.1


def test_two_audits_say_the_same_and_leave_the_generators_alone():
    known = bare_subject(Noisy(), images(), EPS, ["randomised: "])
    first = randomness(known)
    before = torch.get_rng_state()
    torch.rand(3)
    moved = torch.get_rng_state()
    again = randomness(bare_subject(Noisy(), images(), EPS, ["randomised: "]))
    assert first.numbers == again.numbers
    assert torch.equal(torch.get_rng_state(), moved)
    assert not torch.equal(before, moved)


def test_a_steady_model_is_not_asked(tmp_path):
    assert randomness(bare_subject(Noisy(0.0), images(), EPS)).skipped
