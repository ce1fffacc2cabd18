"""A learned threat: what it is trained on, that it learns, and that what was planted is found."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from attacks.spatial import Pose, move
from attacks.threats import generator, procedural
from attacks.threats.generator import CODE, FAMILIES, Encoder, drawn, generated, step_loss, trained
from attacks.threats.infer import infer, residual_of
from attacks.threats.learned import Learned, fitted
from attacks.threats.mask import laid_over
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.threats.options import Amplify
from benchmark.core.threats.sets import Pairs
from benchmark.data.load import load

N, SHAPE = 60, (1, 8, 8)
LEARNED = Amplify(representations="learned")


@pytest.fixture(scope="module")
def data():
    return load("digits", None, False, 0)


@pytest.fixture(scope="module")
def images(data):
    return data.validation.images(slice(N))


@pytest.fixture(scope="module")
def encoder(data):
    """Hardly trained: what was planted is found by the steps that follow it."""
    return trained(data.train.images(slice(200)), SHAPE, stream("encoder"), steps=60)


def some(*shape):
    return torch.rand(shape, generator=stream("learned", *shape))


def turned(images):
    angles = (50 * some(len(images)) - 25).tolist()
    moved = [move(one[None], Pose(turn, 0, 0)) for one, turn in zip(images, angles, strict=True)]
    return torch.cat(moved)


def brightened(images):
    return (images + (some(len(images)) - 0.5)[:, None, None, None]).clamp(0, 1)


def darkened(images):
    return images ** (1 + 2 * some(len(images)))[:, None, None, None]


def both(images):
    """A turn and then more light: no single one of the other representations says that."""
    return brightened(turned(images))


@pytest.mark.parametrize("kind", dict.fromkeys(procedural.KINDS), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("shape", [SHAPE, (3, 12, 9)])
def test_every_kind_of_family_changes_images_of_any_shape(kind, shape):
    images = some(20, *shape)
    for draw in range(12):
        rng = stream("kind", draw)
        deal = kind(shape, rng)
        made = deal(images, rng)
        assert made.shape == images.shape and made.isfinite().all()
        assert not torch.equal(made, images)


def test_a_family_deals_in_the_box_and_by_its_stream_alone(images):
    made = [procedural.family(SHAPE, rng)(images, rng) for rng in (stream("a"), stream("a"))]
    assert torch.equal(*made) and 0 <= made[0].min() <= made[0].max() <= 1
    assert not torch.equal(made[0], procedural.family(SHAPE, stream("b"))(images, stream("c")))


@torch.no_grad()
def test_training_learns_families_it_has_not_seen(data, encoder):
    """Each on the same new families, of images that training did not see."""
    others, fresh = data.validation.images(slice(100)), Encoder(SHAPE)
    losses = [
        sum(
            float(step_loss(one, drawn(others, SHAPE, rng), rng))
            for rng in (stream("unseen", index) for index in range(10))
        )
        for one in (fresh, encoder)
    ]
    assert losses[1] < 0.95 * losses[0]


def test_training_leaves_the_global_generator_alone_and_repeats(data):
    before = torch.get_rng_state()
    one, other = (trained(data.train.images(slice(50)), SHAPE, stream("x"), 3) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(
        torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True)
    )
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_all_pairs_of_a_step_are_of_as_many_families(images):
    pairs = drawn(images, SHAPE, stream("step"))
    assert len(pairs.originals) == FAMILIES * generator.EACH


@pytest.mark.parametrize(
    ("plant", "most"), [(turned, 0.02), (brightened, 0.02), (darkened, 0.05), (both, 0.1)]
)
def test_what_was_planted_is_found(images, encoder, plant, most):
    pairs = Pairs(images, plant(images))
    rest, held = pairs.take(slice(40)), pairs.take(slice(40, None))
    with torch.no_grad():
        found = fitted(encoder, rest, 8)
        assert residual_of(found, held) < most


def test_of_two_at_once_it_explains_more_than_what_knows_one(images, encoder, monkeypatch, data):
    monkeypatch.setattr("attacks.threats.learned.encoder_of", lambda own: encoder)
    numbers = replace(LEARNED, representations="warp+mask+filter+learned")
    found = infer(numbers, Pairs(images, both(images)), data.train)
    left = dict(found.residuals)
    own = left.pop("learned")
    assert found.kind == "learned" and own < 0.1
    assert 2 * own < min(other for other in left.values() if other is not None)


def test_noise_is_not_believed(images, encoder, monkeypatch, data):
    monkeypatch.setattr("attacks.threats.learned.encoder_of", lambda own: encoder)
    noisy = images + 0.15 * (some(*images.shape) - 0.5).sign()
    found = infer(LEARNED, Pairs(images, noisy.clamp(0, 1)), data.train)
    assert found.kind == "norms" and found.residuals["learned"] > 0.2


def test_nothing_to_learn_on_and_too_few_pairs(images, data):
    pairs = Pairs(images, turned(images))
    assert infer(LEARNED, pairs).kind == "norms"
    assert Learned(8, data.train.take(slice(0))).fit(pairs) is None
    assert Learned(8, data.train).fit(pairs.take(slice(2))) is None


def test_masks_are_laid_where_no_pair_had_them(encoder, images):
    """The pairs have theirs in two corners; the model minds one pixel between these."""
    places = torch.tensor([0, 6]).repeat(N // 2)
    pairs = Pairs(images, laid_over(images, torch.ones(2, 2), torch.full((1, 2, 2), 0.5), places))

    class MindsOne(nn.Module):
        def forward(self, images):
            return torch.stack([-images[:, 0, 0, 2], images[:, 0, 0, 2]], dim=1)

    with torch.no_grad():
        found = fitted(encoder, pairs, 4)
        blank, labels = torch.zeros(200, *SHAPE), torch.zeros(200).long()
        made = found.attack_inside(MindsOne(), blank, labels, Streams.named(200, "m"))
    assert (made[:, 0, 0, 2] > 0.25).float().mean() > 0.3


def test_attacks_inside_are_in_the_box_and_the_worst_of_the_draws(images, encoder):
    class Bright(nn.Module):
        """Calls a picture wrong the more the brighter it is."""

        def forward(self, images):
            light = images.flatten(1).mean(dim=1)
            return torch.stack([-light, light], dim=1)

    labels = torch.zeros(N).long()
    with torch.no_grad():
        rest = fitted(encoder, Pairs(images, brightened(images)), 1)
        one, eight = (
            replace(rest, tries=tries).attack_inside(
                Bright(), images, labels, Streams.named(N, "w")
            )
            for tries in (1, 8)
        )
    assert 0 <= eight.min() <= eight.max() <= 1
    assert (eight.flatten(1).mean(dim=1) >= one.flatten(1).mean(dim=1) - 1e-5).all()
    assert one.mean() > brightened(images).mean() + 0.2
    assert rest.observed.shape == (N, CODE)


def test_a_threat_of_nothing_changes_nothing(images):
    """By hand: no move, no kernel, no wave, and a mask that cannot be seen."""
    described = Encoder(SHAPE).described(torch.zeros(1, generator.SEEN))
    still = described._replace(
        **{part: torch.zeros_like(getattr(described, part)) for part in described._fields[:-1]},
        mask=torch.tensor([[0.0, 0.0, -30.0, 0.0, 0.0]]),
    ).take(torch.zeros(N, dtype=torch.int64))
    assert torch.allclose(generated(images, still, some(N, CODE)), images, atol=1e-5)
