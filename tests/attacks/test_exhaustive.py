"""Light, blur and occlusion: the formulas, SciPy, a brute-force search of each set."""

import numpy as np
import pytest
import torch
from attack_tasks import dealt
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn.functional import cross_entropy

from attacks.corruption.light import Blur, BrightnessContrast, Light, gaussian
from attacks.patch.occlusion import Cover, Occlusion
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream

ATTACKS = [
    BrightnessContrast(0.5, 0.3, steps=5),
    Blur(1.0, widths=4),
    Occlusion(3, stride=2, places=4),
    Occlusion(2, places=7, colour=1.0),
]
NAMES = [f"{attack.name} {attack.threat}" for attack in ATTACKS]


def images(count=3, channels=1, size=8):
    return torch.rand(count, channels, size, size, generator=stream("images"))


def linear():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(4, 64, generator=stream("weight")) / 3)
        model[1].bias.zero_()
    return model.eval().requires_grad_(False)


def test_light_by_its_formula():
    batch = images(channels=3)
    made = BrightnessContrast(0.5, 0.3).threat.make(batch, Light(1.5, -0.3))
    expected = np.clip((batch.numpy() - 0.5) * 1.5 + 0.2, 0, 1)
    assert np.allclose(made.numpy(), expected, atol=1e-6)
    assert ((made == 0) | (made == 1)).any(), "the cut to [0, 1] is part of it"


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("channels", [1, 3])
def test_scipy_blurs_alike(sigma, channels):
    batch = images(2, channels, 12)
    expected = gaussian_filter(
        batch.double().numpy(), (0, 0, sigma, sigma), mode="nearest", truncate=3
    )
    assert np.allclose(gaussian(batch, sigma).numpy(), expected, atol=1e-5)


def test_a_square_covers_what_it_says_and_stops_at_the_edge():
    batch = images(channels=2) / 2 + 0.25
    threat = Occlusion(3, stride=2, places=4).threat
    covered = threat.make(batch, Cover(1, 3))
    assert (covered != batch)[:, :, 2:5, 5:8].all()
    assert (covered == 0).sum() == 3 * 2 * 9
    assert (covered != batch).sum() == 3 * 2 * 9


@pytest.mark.parametrize(("side", "stride", "places"), [(3, 2, 4), (2, 1, 7), (8, 4, 6)])
def test_squares_reach_every_pixel(side, stride, places):
    batch = torch.ones(1, 1, 28, 28) if side == 8 else torch.ones(1, 1, 8, 8)
    attack = Occlusion(side, stride, places)
    assert attack.cannot_run(tuple(batch.shape[1:]), 10) is None
    threat = attack.threat
    union = sum((threat.make(batch, one) == 0).int() for one in threat.grid())
    assert (union > 0).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_the_image_itself_comes_first_and_no_variant_twice(attack):
    threat, batch = attack.threat, images()
    assert torch.equal(threat.make(batch, threat.grid()[0]), batch)
    made = torch.stack([threat.make(batch[:1], one).flatten() for one in threat.grid()])
    assert len(made.unique(dim=0)) == len(made) == attack.passes
    assert (made >= 0).all() and (made <= 1).all()


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_inside_takes_every_variant_and_nothing_else(attack):
    threat, batch = attack.threat, images()
    for variant in threat.grid():
        assert threat.inside(batch, threat.make(batch, variant)).all()
    edited = threat.make(batch, threat.grid()[1])
    edited[1, 0, 4, 4] += 1e-3
    assert threat.inside(batch, edited).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (BrightnessContrast(0.25, 0.1, steps=3), BrightnessContrast(0.5, 0.1, steps=3)),
        (Blur(0.5, widths=1), Blur(1.0, widths=1)),
        (Occlusion(2), Occlusion(3)),
        (Occlusion(2), Occlusion(2, colour=1.0)),
    ],
)
def test_what_goes_further_is_outside(small, large):
    batch = images()
    beyond = large.threat.make(batch, large.threat.grid()[1])
    assert large.threat.inside(batch, beyond).all()
    assert not small.threat.inside(batch, beyond).any()


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_examples_are_the_worst_variant_by_brute_force(attack):
    model, batch = linear(), images(40)
    labels = model(batch).argmax(dim=1)
    found = attack.perturb(model, batch, labels, "examples", dealt(labels, 0))
    broken = []
    for image, label, example in zip(batch, labels, found, strict=True):
        ranked = []
        for variant in attack.threat.grid():
            logits = model(attack.threat.make(image[None], variant))
            loss = float(cross_entropy(logits, label[None]))
            ranked.append((int(logits.argmax()) != int(label), loss))
        wrong, worst = max(ranked)
        loss = float(cross_entropy(model(example[None]), label[None]))
        assert loss == pytest.approx(worst, abs=1e-4)
        broken.append(wrong)
    verdicts = attack.perturb(model, batch, labels, "verdict", dealt(labels, 0))
    assert (model(verdicts).argmax(dim=1) != labels).tolist() == broken
    assert 0 < sum(broken) < 40


@pytest.mark.parametrize(
    "make",
    [
        lambda: BrightnessContrast(0.5, 0.3, steps=4),
        lambda: BrightnessContrast(1.0, 0.3),
        lambda: BrightnessContrast(-0.1, 0.3),
        lambda: Blur(-1.0),
        lambda: Blur(1.0, widths=0),
        lambda: Occlusion(0),
        lambda: Occlusion(2, colour=1.5),
    ],
)
def test_a_set_that_makes_no_sense_is_refused(make):
    with pytest.raises(UsageError, match="expected"):
        make()


def test_a_square_that_does_not_fit_or_reach_cannot_run():
    assert "does not fit" in Occlusion(9).cannot_run((1, 8, 8), 10)
    assert "do not reach" in Occlusion(2, places=3).cannot_run((1, 8, 8), 10)
