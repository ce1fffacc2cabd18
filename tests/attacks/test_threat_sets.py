"""What was planted is found: warps, masks and filters of known numbers, balls of known sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from attacks.engine.resampling import LATTICE
from attacks.spatial import Pose, move
from attacks.threats import warp
from attacks.threats.infer import infer
from attacks.threats.local_filter import FittedFilter, filtered
from attacks.threats.mask import FittedMask, Masks, laid_over
from attacks.threats.norms import FittedNorms
from attacks.threats.worst import between
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.threats.options import Amplify
from benchmark.core.threats.sets import Pairs
from benchmark.core.types import distance
from benchmark.data.load import load

N = 60


@pytest.fixture(scope="module")
def images():
    return load("digits", None, False, 0).validation.images(slice(N))


def some(*shape):
    return torch.rand(shape, generator=stream("threats", *shape))


def normal(*shape):
    return torch.randn(shape, generator=stream("threats", *shape))


def turned(images):
    """An implementation of its own: what the attack does, at angles in between too."""
    angles = (50 * some(len(images)) - 25).tolist()
    return torch.cat(
        [move(one[None], Pose(angle, 0, 0)) for one, angle in zip(images, angles, strict=True)]
    )


def bent(images):
    basis = 0.15 * normal(2, 2 * LATTICE * LATTICE)
    return warp.warped(images, normal(len(images), 2) @ basis)


def covered(images):
    places = torch.randint(49, (len(images),), generator=stream("places"))
    mask, colour = torch.full((2, 2), 0.7), torch.full((1, 2, 2), 0.3)
    return laid_over(images, mask, colour, places)


def blurred(images):
    kernel = torch.full((10,), 1 / 9)
    kernel[4] -= 1
    kernel[9] = 0
    return filtered(images, some(len(images))[:, None] * kernel)


def noisy(images, eps=0.15):
    return (images + eps * normal(*images.shape).sign()).clamp(0, 1)


@pytest.mark.parametrize(
    ("plant", "kind", "residual"),
    [(turned, "warp", 0.02), (bent, "warp", 0.05), (covered, "mask", 1e-3),
     (blurred, "filter", 1e-3)],
)  # fmt: skip
def test_what_was_planted_is_found(images, plant, kind, residual):
    found = infer(Amplify(), Pairs(images, plant(images)))
    assert found.kind == next(iter(found.residuals)) == kind
    assert found.residuals[kind] < residual
    others = [left for name, left in found.residuals.items() if name != kind and left is not None]
    assert all(left > 0.2 for left in others)
    assert found.in_order and found.pairs == N


def test_a_mask_and_its_numbers_are_found(images):
    found = Masks(8).fit(Pairs(images, covered(images)))
    assert torch.allclose(found.mask, torch.tensor(0.7), atol=0.01)
    assert torch.allclose(found.colour, torch.tensor(0.3), atol=0.01)


def test_without_what_fits_norms_are_left(images):
    pairs = Pairs(images, turned(images))
    without = infer(Amplify(representations="mask+filter"), pairs)
    assert without.kind == "norms" and set(without.residuals) == {"mask", "filter"}
    alone = infer(Amplify(representations="norms"), pairs)
    assert alone.kind == "norms" and not alone.residuals
    assert infer(Amplify(representations="none"), pairs).found is None


def test_noise_gives_balls_of_the_observed_sizes(images):
    attacked = noisy(images)
    found = infer(Amplify(), Pairs(images, attacked))
    assert found.kind == "norms"
    assert found.found.sizes["linf"] == pytest.approx(0.15, abs=1e-6)
    for norm in ("l1", "l2"):
        expected = torch.quantile(distance(images, attacked, norm), 0.9)
        assert found.found.sizes[norm] == pytest.approx(float(expected))


def linear(weights):
    """Two classes: logits 0 and w x."""
    model = nn.Linear(weights.numel(), 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.stack([torch.zeros_like(weights), weights]))
    return nn.Sequential(nn.Flatten(), model).eval()


class Bent(nn.Module):
    """One hidden layer."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = nn.Parameter(first), nn.Parameter(second)

    def forward(self, x):
        return torch.tanh(x.flatten(1) @ self.first) @ self.second


def test_steps_between_norms_reach_the_closed_form():
    """On a linear model away from the edges: eps ||w||_2 in l2, where the others do not bind."""
    weights, images = normal(64), torch.full((3, 1, 8, 8), 0.5)
    sizes = {"linf": 1.0, "l1": 64.0, "l2": 0.1}
    labels = torch.ones(3, dtype=torch.int64)
    found = FittedNorms(sizes, 5).attack_inside(
        linear(weights), images, labels, Streams.named(3, "norms")
    )
    fell = (images - found).flatten(1) @ weights
    assert torch.allclose(fell, 0.1 * weights.norm().expand(3), rtol=0.05)


def test_steps_stay_in_every_ball(images):
    found = infer(Amplify(), Pairs(images, noisy(images)))
    made = found.found.attack_inside(
        linear(normal(64)), images, torch.zeros(N, dtype=torch.int64), Streams.named(N, "stay")
    )
    assert made.min() >= 0 and made.max() <= 1
    for norm, size in found.found.sizes.items():
        assert (distance(images, made, norm) <= size * (1 + 1e-5)).all()


@pytest.mark.parametrize("plant", [turned, covered, blurred])
def test_own_images_are_attacked_inside_the_set(images, plant):
    """What comes back is of the set, in [0, 1], and the worst of more tries is no weaker."""
    pairs, labels = Pairs(images, plant(images)), torch.zeros(N, dtype=torch.int64)
    model = linear(normal(64))
    losses = [nn.functional.cross_entropy(model(images), labels, reduction="none")]
    for tries in (1, 4):
        found = infer(Amplify(tries=tries, places=tries), pairs).found
        made = found.attack_inside(model, images, labels, Streams.named(N, "inside"))
        assert made.min() >= 0 and made.max() <= 1
        changed = (made - images).flatten(1).norm(dim=1) > 0.1
        again = Pairs(images[changed], made[changed])
        assert (found.nearest(again).clamp(0, 1) - again.attacked).abs().flatten(1).amax(
            dim=1
        ).median() < 0.05
        losses.append(nn.functional.cross_entropy(model(made), labels, reduction="none"))
    assert (losses[2] >= losses[1] - 1e-6).all()
    assert losses[1].mean() > losses[0].mean() + 1e-3


def test_draws_lie_between_what_was_observed():
    """Of two pairs at 0 and 1: half at the ends, the others anywhere between; and none outside."""
    observed = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    drawn = between(observed, Streams.named(100, "between")).flatten(0, 1)
    assert torch.allclose(drawn.sum(dim=1), torch.ones(len(drawn)))
    assert drawn.min() >= 0 and drawn.max() <= 1
    ends = ((drawn == 0) | (drawn == 1)).all(dim=1).float().mean()
    assert 0.7 < ends < 0.8, "half, and half of the others, whose two pairs are the same"
    assert abs(float(drawn[:, 0].mean()) - 0.5) < 0.03


def test_the_same_pairs_give_the_same_set(images):
    pairs = Pairs(images, turned(images))
    one, other = infer(Amplify(), pairs), infer(Amplify(), pairs)
    assert one.residuals == other.residuals
    assert torch.equal(one.found.basis, other.found.basis)


def test_few_pairs_are_enough_for_warps_and_masks(images):
    """K = 1 on digits is ten pairs."""
    for plant, kind in ((turned, "warp"), (covered, "mask")):
        pairs = Pairs(images[:10], plant(images[:10]))
        assert infer(Amplify(), pairs).kind == kind


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_pairs_give_norms(images, count):
    found = infer(Amplify(), Pairs(images[:count], turned(images[:count])))
    assert found.kind == "norms" and found.pairs == count


def test_pairs_that_did_not_change_give_nothing(images):
    found = infer(Amplify(), Pairs(images, images.clone()))
    assert (found.kind, found.found, found.pairs) == ("", None, 0)
    half = images.clone()
    half[::2] = covered(images)[::2]
    assert infer(Amplify(), Pairs(images, half)).pairs <= N // 2


def test_pairs_of_other_sizes_are_refused(images):
    with pytest.raises(UsageError, match="shape of their originals"):
        infer(Amplify(), Pairs(images, images[1:]))
    with pytest.raises(UsageError, match="shape of their originals"):
        infer(Amplify(), Pairs(images, images[..., 1:]))


def test_pairs_out_of_order_are_noticed(images):
    shuffled = noisy(images, 0.02).roll(1, dims=0)
    found = infer(Amplify(), Pairs(images, shuffled))
    assert found.kind == "norms" and not found.in_order


def test_a_fit_that_does_not_converge_is_none(images, monkeypatch):
    monkeypatch.setattr(warp, "RATE", float("nan"))
    pairs = Pairs(images, turned(images))
    assert warp.Warps(4).fit(pairs) is None
    found = infer(Amplify(), pairs)
    assert found.kind == "norms" and found.residuals["warp"] is None


def test_what_leaves_the_range_is_noted_and_cut(images):
    kernel = torch.zeros(10)
    kernel[9] = 0.4  # brighter by 0.4, then cut
    attacked = filtered(images, kernel.expand(N, -1)).clamp(0, 1)
    found = infer(Amplify(fits=1.0, representations="filter"), Pairs(images, attacked))
    assert found.kind == "filter" and found.clipped > 0.05
    mean = FittedFilter(kernel, kernel.new_zeros(0, 10), kernel.new_zeros(N, 0), 1)
    made = mean.attack_inside(
        linear(normal(64)), images, torch.zeros(N, dtype=torch.int64), Streams.named(N, "cut")
    )
    assert made.max() == 1


def test_a_representation_nobody_knows_is_refused(images):
    with pytest.raises(UsageError, match=r"unknown representation of amplify 'wrap'.*warp"):
        infer(Amplify(representations="wrap"), Pairs(images, images))


def test_options_are_checked():
    assert Amplify.of("finetune") is None
    assert Amplify.of("amplify[every=5,representations=warp+mask]").every == 5
    for text, said in (
        ("amplify[evry=5]", "did you mean every"), ("amplify[own=0]", "at least 1"),
        ("amplify[quantile=2]", "at most 1"), ("amplify[own=x]", "expected int"),
        ("amplify[representations=<b>]", "expected names such as"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=said):
            Amplify.of(text)


@pytest.mark.parametrize("place", range(9))
def test_the_worst_place_of_a_mask_is_found_where_first_order_is_exact(place):
    """All 9 places are among the draws; a linear model loses most where its weights lie."""
    images, found = torch.ones(5, 1, 4, 4), FittedMask(torch.ones(2, 2), torch.zeros(1, 2, 2), 1)
    weights = laid_over(
        torch.zeros(1, 1, 4, 4), found.mask, torch.ones(1, 2, 2), torch.tensor([place])
    )
    made = found.attack_inside(
        linear(weights.flatten()), images, torch.ones(5, dtype=torch.int64),
        Streams.named(5, "place"),
    )  # fmt: skip
    assert torch.equal(made, (1 - weights).expand_as(made))


def test_the_most_promising_warp_is_of_the_worst(images):
    """Two that are asked about are stronger than the mean of all, on a model that is bent."""
    first, second = normal(64, 32) / 8, normal(32, 10) / 6
    model = Bent(first, second)
    found, labels = infer(Amplify(), Pairs(images, bent(images))).found, model(images).argmax(dim=1)

    def losses(made):
        return nn.functional.cross_entropy(model(made), labels, reduction="none").detach()

    everything = torch.stack([
        losses(warp.warped(images, (c @ found.basis).expand(N, -1)).clamp(0, 1))
        for c in found.observed
    ])  # fmt: skip
    made = losses(found.attack_inside(model, images, labels, Streams.named(N, "two")))
    assert (made > everything.median(dim=0).values).float().mean() > 0.8


def test_large_images_need_no_more_memory_than_they_have(images):
    """On 3x128x128, of 30 pairs those that hold about a million numbers."""
    large = torch.nn.functional.interpolate(images[:30], (128, 128)).expand(-1, 3, -1, -1)
    places = torch.randint(97 * 97, (30,), generator=stream("large"))
    attacked = laid_over(large.clone(), torch.ones(32, 32), torch.full((3, 32, 32), 0.5), places)
    found = infer(Amplify(representations="mask"), Pairs(large, attacked))
    assert (found.kind, found.pairs) == ("mask", 21) and found.residuals["mask"] < 1e-3
