"""Attacks in l0 against closed forms: sparse PGD and Sparse-RS."""

from __future__ import annotations

import pytest
import torch
from attack_tasks import dealt

from attacks import sparse_pgd
from attacks.build import build_attack
from attacks.sparse_pgd import Painting, SparsePGD, climbed, highest
from attacks.sparse_rs import SparseRS, colours, draw, moving
from benchmark.contracts.toys import conv_net, linear_task, some_images
from benchmark.core.seeding import stream
from benchmark.core.types import Batch, NormBall, distance
from benchmark.evaluation.verdicts import Meter, correct, run_attack

ATTACKS = [SparsePGD(2, steps=10), SparseRS(2, queries=60)]


def attacked(attack, model, batch, goal="examples", meter=None):
    rng = dealt(batch.labels, "sparse")
    return run_attack(attack, model, batch, goal, meter or Meter(), rng).images


def broken(attack, model, batch, goal="examples"):
    return ~correct(model, Batch(attacked(attack, model, batch, goal), batch.labels))


# Closed form: on a linear model the best pixels are those of the largest gain.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("attack", "share"),
    [(SparsePGD(3, steps=80), 0.98), (SparseRS(3, queries=800), 0.8)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_closed_form_is_reached_and_not_beaten(attack, share, channels):
    task = linear_task(NormBall("l0", 3), channels, n=40)
    found = broken(attack, task.model, task.batch, "verdict")
    assert not found[task.ratio > 1].any()
    assert found[task.ratio < share].all()
    assert 5 < int(found.sum()) < 30


def test_sparse_pgd_takes_the_pixels_of_the_largest_gain():
    task = linear_task(NormBall("l0", 4), 3, n=20)
    images, weights = task.batch.images, task.model.weights.detach().view(3, 8, 8)
    room = torch.where(weights > 0, images, 1 - images)
    gains = (weights.abs() * room).sum(dim=1).flatten(1)
    moved = attacked(SparsePGD(4, steps=120), task.model, task.batch) - images
    gained = -(moved * weights).flatten(1).sum(dim=1) / gains.topk(4, dim=1).values.sum(dim=1)
    assert gained.min() > 0.95
    assert gained.mean() > 0.98
    assert gained.max() <= 1 + 1e-5


# What l0 counts, both goals, costs.


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
@pytest.mark.parametrize("shape", [(3, 8, 11), (1, 9, 8)])
def test_both_goals_break_the_same_images_and_pixels_are_counted(attack, shape):
    model = conv_net(shape, 10)
    batch = some_images(model, shape, 50, wrong=4)
    images = attacked(attack, model, batch)
    assert distance(batch.images, images, "l0").max() == 2
    if shape[0] == 3:
        assert (images != batch.images).flatten(1).sum(dim=1).max() > 2, "numbers are not counted"
    examples, verdicts = (broken(attack, model, batch, goal) for goal in ("examples", "verdict"))
    assert torch.equal(examples, verdicts)
    assert 4 < int(examples.sum()) < 50, "some broken, some not: or the test says nothing"


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_examples_cost_what_is_said_and_verdicts_less(attack):
    model = conv_net((1, 8, 8), 10)
    batch = some_images(model, (1, 8, 8), 30)
    costs = {}
    for goal in ("examples", "verdict"):
        meter = Meter()
        attacked(attack, model, batch, goal, meter)
        costs[goal] = meter.forwards + meter.backwards
    assert costs["examples"] == 30 * attack.passes
    assert costs["verdict"] < costs["examples"]


@pytest.mark.parametrize("name", ["pgd_l0", "sparse_rs"])
def test_names_and_what_they_need(name):
    attack = build_attack(name, {"l0": {"eps": 12}})
    assert (attack.family, attack.norm, str(attack.threat)) == ("sparse", "l0", "l0 12")
    assert attack.needs_gradient == (name == "pgd_l0")


def test_random_search_needs_pixels_to_choose_from():
    assert SparseRS(63).cannot_run((1, 8, 8), 10) is None
    assert SparseRS(64).cannot_run((1, 8, 8), 10) == "needs more than 64 pixels, got 64"


def test_gradients_may_change_every_pixel():
    model = conv_net((1, 8, 8), 10)
    batch = some_images(model, (1, 8, 8), 5)
    assert broken(SparsePGD(99, steps=5), model, batch).all()


# Sparse PGD.


class Deaf(torch.nn.Module):
    """Nothing below 0.5 is heard: no gradient at a dark pixel. Class 1 where three are bright."""

    def forward(self, images):
        heard = (images - 0.5).clamp_min(0).flatten(1)
        lead = 2 * heard[:, :8].sum(dim=1) - heard[:, 8:].sum(dim=1)
        return torch.stack([2.5 - lead, lead], dim=1)


def test_scouts_find_what_a_network_does_not_hear(monkeypatch):
    """Three of the first eight of 256 pixels have to be bright: seldom by chance."""
    batch = Batch(torch.full((30, 1, 16, 16), 0.1), torch.zeros(30, dtype=torch.int64))
    attack = SparsePGD(3, steps=40)
    found = int(broken(attack, Deaf().eval(), batch, "verdict").sum())
    monkeypatch.setattr(sparse_pgd, "SCOUTS", 0.0)
    without = int(broken(attack, Deaf().eval(), batch, "verdict").sum())
    assert (found >= 25, without <= 5) == (True, True), (found, without)


def painting():
    images = torch.rand(5, 3, 20, generator=stream("images"))
    colour = torch.rand(5, 3, 20, generator=stream("colours"))
    score = torch.randn(5, 20, generator=stream("scores"))
    rows = torch.arange(5)
    chosen, nothing = highest(score, 4), torch.full((len(rows),), -torch.inf)
    return Painting(
        rows, images, colour, score, chosen, torch.zeros_like(rows), nothing, colour, chosen
    )


@pytest.mark.parametrize("projected", [True, False])
def test_a_step_is_the_published_one(projected):
    """By automatic differentiation of colours and scores under a relaxed mask."""
    state = painting()
    weights = torch.randn(5, 3, 20, generator=stream("gradient"))
    after = climbed(state, weights, state.chosen if projected else None)
    score = state.score.clone().requires_grad_()
    change = (state.colour - state.images) * torch.sigmoid(score)[:, None]
    (slope,) = torch.autograd.grad((weights * change).sum(), score)
    step = 0.25 * 20**0.5 * torch.nn.functional.normalize(slope, dim=1)
    assert torch.allclose(after.score, state.score + step, atol=1e-5)
    moving_pixels = state.chosen[:, None] if projected else torch.tensor(True)
    expected = (state.colour + 0.25 * weights.sign() * moving_pixels).clamp(0, 1)
    assert torch.allclose(after.colour, expected)


def test_no_gradient_moves_nothing():
    state = painting()
    after = climbed(state, torch.zeros(5, 3, 20), None)
    assert torch.equal(after.score, state.score)
    assert torch.equal(after.colour, state.colour)


# Sparse-RS.


@pytest.mark.parametrize("queries", [200, 5000, 10000])
def test_the_schedule_is_the_published_one(queries):
    """By the bounds of the paper's table, with the first share 0.3."""
    for query in range(1, queries, 7):
        at = int(query / queries * 10000)
        bounds = [50, 200, 500, 1000, 2000, 4000, 6000, 8000, 10001]
        divisors = [2, 4, 5, 6, 8, 10, 12, 15, 20]
        divisor = next(by for bound, by in zip(bounds, divisors, strict=True) if at < bound)
        assert moving(query, queries, 150) == max(int(0.3 / divisor * 150), 1)


def test_places_are_drawn_evenly_and_never_twice():
    order = torch.arange(9).repeat(6000, 1)
    draw(order, 2, 7, torch.rand(6000, 3, generator=stream("draws")))
    assert torch.equal(order.sort(dim=1).values, torch.arange(9).repeat(6000, 1))
    assert torch.equal(order[:, [0, 1, 7, 8]], torch.tensor([0, 1, 7, 8]).repeat(6000, 1))
    for drawn in order[:, 2:5].unbind(1):
        shares = torch.bincount(drawn, minlength=9)[2:7] / 6000
        assert shares.tolist() == pytest.approx([0.2] * 5, abs=0.03)


def test_colours_are_corners():
    found = colours((3, 50), dealt(torch.zeros(4), "colours"), torch.device("cpu"))
    assert found.shape == (4, 3, 50)
    assert set(found.unique().tolist()) == {0.0, 1.0}
    assert float(found.mean()) == pytest.approx(0.5, abs=0.1)
