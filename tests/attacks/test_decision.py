"""Attacks on decisions: closed forms, queries counted, nothing but classes used."""

from __future__ import annotations

import pytest
import torch
from attack_tasks import dealt
from torch import nn

from attacks.build import build_attack, strengths_of
from attacks.decision.boundary import Boundary, adapted, sidestep
from attacks.decision.decisions import Decisions
from attacks.decision.hop_skip_jump import HopSkipJump
from attacks.decision.rays import RayS
from attacks.decision.walk import bisected, find_start, sizes
from attacks.engine.search import Search
from benchmark.contracts.toys import conv_net, some_images
from benchmark.core.seeding import stream
from benchmark.core.types import NormBall, distance
from benchmark.evaluation.verdicts import Meter, metered

ATTACKS = (HopSkipJump, Boundary, RayS)
EPS = {HopSkipJump: 0.4, Boundary: 0.4, RayS: 0.06}


class Planes(nn.Module):
    """Linear logits (batch, classes) of grey images."""

    def __init__(self, classes: int, side: int = 8) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(classes, side**2, generator=stream("planes")))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - 0.5).flatten(1) @ self.weights.T

    def nearest(self, images: torch.Tensor, norm: str) -> torch.Tensor:
        """How far the nearest boundary is, without the box: min (z_y - z_i) / |w_y - w_i|."""
        logits = self(images)
        own = logits.argmax(dim=1)
        dual = {"l2": 2, "linf": 1}[norm]
        gap = logits.gather(1, own[:, None]) - logits
        slope = (self.weights[own][:, None] - self.weights).norm(p=dual, dim=2)
        return (gap / slope).scatter(1, own[:, None], torch.inf).amin(dim=1)


@torch.no_grad()
def near_grey(classes, n=12):
    """A linear model, grey images far from boundary and box (1 of 4 drawn), and its labels."""
    model = Planes(classes).eval()
    images = 0.5 + 0.05 * torch.randn(4 * n, 1, 8, 8, generator=stream("grey"))
    images = images[model.nearest(images, "l2").topk(n).indices]
    return model, images, model(images).argmax(dim=1)


def found(attack, model, images, labels, goal="examples", names="decision"):
    return attack.perturb(model, images, labels, goal, dealt(labels, names))


def excess(attack, classes):
    """How much farther than the nearest boundary each image was moved, as a share."""
    model, images, labels = near_grey(classes)
    perturbed = found(attack, model, images, labels)
    assert (model(perturbed).argmax(dim=1) != labels).all()
    with torch.no_grad():
        return distance(images, perturbed, attack.norm) / model.nearest(images, attack.norm) - 1


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_hop_skip_jump_finds_the_nearest_boundary(classes):
    beyond = excess(HopSkipJump(0.01, queries=3000), classes)
    assert float(beyond.min()) > -1e-4
    assert float(beyond.median()) < 0.08
    assert float(beyond.max()) < (0.05 if classes == 2 else torch.inf), "another class is nearer"


@pytest.mark.parametrize("classes", [2, 10])
def test_rays_finds_the_nearest_boundary(classes):
    beyond = excess(RayS(0.001, queries=1000), classes)
    assert float(beyond.min()) > -1e-4
    assert float(beyond.max()) < (0.02 if classes == 2 else torch.inf), "another class is nearer"
    assert float(beyond.median()) < 0.02


def test_the_boundary_attack_comes_nearer_with_queries():
    means = [float(excess(Boundary(0.01, queries), 10).mean()) for queries in (100, 300, 1000)]
    assert means[0] > means[1] > means[2]
    assert means[2] < 0.2


@pytest.mark.parametrize("attack", ATTACKS)
def test_more_queries_never_end_farther(attack):
    """Of what is wrong the nearest is kept, wherever an attack goes on to."""
    model = conv_net((3, 8, 8), 10)
    images, labels = some_images(model, (3, 8, 8), 6)
    few, many = (
        distance(images, found(attack(1e-4, queries), model, images, labels), attack.norm)
        for queries in (150, 400)
    )
    assert (many <= few).all()
    assert (many < few).any()


class Disguised(nn.Module):
    """A model whose logits are changed before anybody sees them."""

    def __init__(self, model, answer):
        super().__init__()
        self.model, self.answer = model, answer

    def forward(self, images):
        return self.answer(self.model(images))


def one_hot(logits):
    return nn.functional.one_hot(logits.argmax(dim=1), logits.shape[1]).float()


def rescaled(logits):
    return 3 * logits.double() + torch.arange(len(logits))[:, None]


@pytest.mark.parametrize("goal", ["examples", "verdict"])
@pytest.mark.parametrize("answer", [one_hot, rescaled])
@pytest.mark.parametrize("attack", ATTACKS)
def test_only_the_class_is_looked_at(attack, answer, goal):
    model = conv_net((1, 8, 8), 10)
    images, labels = some_images(model, (1, 8, 8), 8, wrong=2)
    attack = attack(EPS[attack], queries=150)
    plain = found(attack, model, images, labels, goal)
    assert torch.equal(plain, found(attack, Disguised(model, answer), images, labels, goal))
    assert (plain != images).any()


@pytest.mark.parametrize("queries", [1, 2, 15, 16, 40, 233])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_image_costs_more_than_it_says(attack, queries):
    model = conv_net((1, 8, 8), 10)
    images, labels = some_images(model, (1, 8, 8), 4)
    attack = attack(1e-4, queries=queries)
    for row in range(len(images)):
        meter = Meter()
        with metered(model, meter):
            found(attack, model, images[row : row + 1], labels[row : row + 1])
        assert meter.forwards <= attack.passes
        assert meter.backwards == 0
        assert meter.forwards > 0.9 * queries - 20, "the budget is used"


@pytest.mark.parametrize("goal", ["examples", "verdict"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_becomes_of_an_image_does_not_depend_on_its_batch(attack, goal):
    model = conv_net((1, 8, 8), 10)
    images, labels = some_images(model, (1, 8, 8), 9)
    attack, rng = attack(EPS[attack], queries=200), dealt(labels, "batch")
    together = attack.perturb(model, images, labels, goal, rng)
    for rows in (torch.tensor([4]), torch.tensor([7, 0, 3])):
        alone = attack.perturb(model, images[rows], labels[rows], goal, rng.take(rows))
        assert torch.allclose(together[rows], alone, atol=1e-6)


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_verdict_saves_queries_and_breaks_the_same(attack):
    model = conv_net((1, 8, 8), 10)
    images, labels = some_images(model, (1, 8, 8), 20)
    attack, broken, costs = attack(EPS[attack], queries=300), [], []
    for goal in ("examples", "verdict"):
        meter = Meter()
        with metered(model, meter):
            perturbed = found(attack, model, images, labels, goal)
        inside = attack.threat.inside(images, perturbed)
        broken.append(inside & (model(perturbed).argmax(dim=1) != labels))
        costs.append(meter.forwards)
    assert torch.equal(*broken)
    assert 0 < int(broken[0].sum()) < 20
    assert costs[1] < costs[0]


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_same_streams_give_the_same_images(attack, classes):
    model = conv_net((1, 8, 8), classes)
    images, labels = some_images(model, (1, 8, 8), 3)
    first, second = (found(attack(0.1, queries=60), model, images, labels) for _ in range(2))
    assert torch.equal(first, second)
    assert found(attack(0.1), model, images[:0], labels[:0]).shape == (0, 1, 8, 8)


@pytest.mark.parametrize("attack", ATTACKS)
def test_where_nothing_is_wrong_the_image_is_left_as_it_is(attack):
    images, labels = torch.rand(3, 1, 8, 8), torch.zeros(3).long()

    class Constant(nn.Module):
        def forward(self, images):
            return torch.tensor([1.0, 0.0]).repeat(len(images), 1)

    for goal in ("examples", "verdict"):
        assert torch.equal(found(attack(0.1, 50), Constant(), images, labels, goal), images)


@pytest.mark.parametrize("name", ["hop_skip_jump", "boundary", "rays"])
def test_on_digits_it_costs_about_a_thousand_queries(name):
    assert 500 <= build_attack(name, strengths_of("digits")).passes <= 1000
    assert build_attack(name, strengths_of("cifar10")).passes >= 5000


# Parts.


def test_an_image_of_the_class_of_noise_has_a_start():
    """Fine noise has nearly the same mean everywhere; coarse noise has not."""

    class Bright(nn.Module):
        def forward(self, images):
            corner = images[:, 0, :14, :14].mean(dim=(1, 2))
            return torch.stack([0.6 - corner, corner - 0.6], dim=1)

    images, labels = torch.zeros(20, 1, 28, 28), torch.zeros(20).long()
    decisions = asked_of(Bright(), images, labels)
    with torch.no_grad():
        assert len(find_start(decisions, dealt(labels), 40)) == 20


def asked_of(model, images, labels, norm="l2", eps=0.1, queries=100, goal="examples"):
    return Decisions(Search(model, images, labels, goal), NormBall(norm, eps), queries)


def test_answers_are_counted_and_the_nearest_wrong_one_is_kept():
    model, images, labels = near_grey(2)
    decisions = asked_of(model, images, labels, queries=5)
    with torch.no_grad():
        normal = (model.weights[1 - labels] - model.weights[labels]).view_as(images)
        normal *= (model.nearest(images, "l2") / sizes(normal)).view(-1, 1, 1, 1)
        shares = torch.tensor([2.0, 0.9, 1.1, 1.5, 3.0]).view(1, -1, 1, 1, 1)
        proposals = images[:, None] + shares * normal[:, None]
        rows = torch.arange(len(images))
        answers = decisions.ask(rows, proposals, torch.tensor([4, 2] * 6))
        assert answers[0].tolist() == [1, -1, 1, 1, 0]
        assert answers[1].tolist() == [1, -1, 0, 0, 0]
        assert decisions.left.tolist() == [1, 3] * 6
        assert torch.equal(decisions.point[0], proposals[0, 2])
        assert torch.equal(decisions.point[1], proposals[1, 0])
        assert decisions.ask(rows[:1], proposals[:1])[0].tolist() == [1, 0, 0, 0, 0]
        assert not decisions.wrong(rows[:1], proposals[:1, 0]).any(), "it has no query left"


def test_bisection_ends_just_beyond_the_boundary():
    model, images, labels = near_grey(2)
    decisions = asked_of(model, images, labels)
    with torch.no_grad():
        rows = find_start(decisions, dealt(labels), 50)
        assert len(rows) == len(images)
        start = decisions.point.clone()
        there = bisected(decisions, rows, start, 1e-4)
        back = there - 1e-4 * (start - images)
        assert (model(there).argmax(dim=1) != labels).all()
        assert (model(back).argmax(dim=1) == labels).all()


def test_a_sidestep_keeps_the_distance_and_moves_by_its_share():
    images = torch.full((5, 1, 8, 8), 0.5)
    points, drawn = (0.02 * torch.randn(5, 1, 8, 8, generator=stream(n)) for n in ("at", "by"))
    moved = sidestep(images, images + points, drawn, torch.full((5,), 0.1)) - images
    assert sizes(moved) == pytest.approx(sizes(points), rel=1e-4)
    turned = (moved * points).flatten(1).sum(dim=1) / sizes(moved) / sizes(points)
    assert turned.acos().tan() == pytest.approx(0.1, rel=1e-2)


@pytest.mark.parametrize("wanted", [0.25, 0.5])
def test_step_sizes_stay_at_the_wanted_share(wanted):
    size = torch.full((1,), 0.01)
    for turn in range(100):
        size = adapted(size, torch.tensor([turn % 4 < 4 * wanted]), wanted)
    assert size == pytest.approx(0.01, rel=1e-3)
