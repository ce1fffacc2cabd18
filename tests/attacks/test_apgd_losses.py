"""Auto-PGD on more losses and in l1: against its authors' code, and against closed forms."""

from __future__ import annotations

import pytest
import torch
from attack_tasks import broken_by, dealt
from attack_tasks import linear_task as binary_task

from attacks.autoattack.apgd import untargeted
from attacks.autoattack.apgd_l1 import balls, begin, climb_ball, kept, moved_by, steepest
from attacks.autoattack.apgd_losses import AutoPGDL1
from attacks.build import build_attack
from attacks.engine.losses import probability_margin
from attacks.engine.search import Search
from benchmark.contracts.toys import conv_net, linear_task, some_images
from benchmark.core.seeding import stream
from benchmark.core.types import Batch, NormBall
from benchmark.evaluation.verdicts import Meter, correct, run_attack

EPS = {"linf": 0.15, "l2": 0.7, "l1": 3.0}
NAMES = [
    "apgd_dlr_linf", "apgd_dlr_l2", "apgd_dlr_l1", "apgd_pm_linf", "apgd_pm_l2", "apgd_pm_l1",
    "apgd_l1", "apgdt_l1",
]  # fmt: skip


def broken(attack, model, batch, goal):
    rng = dealt(batch.labels, "auto pgd")
    images = run_attack(attack, model, batch, goal, Meter(), rng).images
    return ~correct(model, Batch(images, batch.labels))


# The probability margin.


def published_margin(logits, labels):
    """max_{j != y} p_j - p_y in float64."""
    chances = logits.double().softmax(dim=1)
    own = torch.nn.functional.one_hot(labels, logits.shape[1]).bool()
    return chances.masked_fill(own, 0).amax(dim=1) - chances[own]


def slope_of(loss, logits, labels):
    logits = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(logits, labels).sum(), logits)
    return slope


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_probability_margin_is_the_published_one_in_logarithms(classes):
    logits = 3 * torch.randn(200, classes, generator=stream("logits"))
    labels = torch.randint(classes, (200,), generator=stream("labels"))
    expected = published_margin(logits, labels)
    assert torch.allclose(probability_margin(logits, labels).double().expm1(), expected, atol=1e-5)
    logits, labels = logits[expected < 0.99], labels[expected < 0.99]  # the rest are lost anyway
    ours, theirs = (
        torch.nn.functional.normalize(slope_of(loss, logits, labels).double(), dim=1)
        for loss in (probability_margin, published_margin)
    )
    assert len(logits) > 80
    assert torch.allclose(ours, theirs, atol=1e-4), "the same direction"


def test_it_has_a_gradient_where_the_margin_itself_has_none():
    logits, labels = torch.tensor([[4000.0, 1000.0, 0.0]]), torch.tensor([0])
    assert not slope_of(published_margin, logits, labels).any()
    assert slope_of(probability_margin, logits, labels).tolist() == [[-1.0, 1.0, 0.0]]


# Closed form, and both goals.


@pytest.mark.parametrize("goal", ["examples", "verdict"])
@pytest.mark.parametrize("name", NAMES)
def test_the_closed_form_is_reached_and_not_beaten(name, goal):
    norm = name.rpartition("_")[2]
    task = linear_task(NormBall(norm, EPS[norm]), n=60)
    attack = build_attack(f"{name}[steps=40]", {norm: {"eps": EPS[norm]}})
    found = broken(attack, task.model, task.batch, goal)
    assert not found[task.ratio > 1].any()
    assert found[task.ratio < 0.97].all()
    assert 20 < int(found.sum()) < 40


@pytest.mark.parametrize("name", NAMES)
def test_both_goals_break_the_same_images(name):
    model = conv_net((3, 8, 10), 10)
    batch = some_images(model, (3, 8, 10), 60, wrong=5)
    norm = name.rpartition("_")[2]
    small = {"linf": 0.01, "l2": 0.08, "l1": 0.3}[norm]
    attack = build_attack(f"{name}[steps=5,restarts=2]", {norm: {"eps": small}})
    examples, verdicts = (broken(attack, model, batch, goal) for goal in ("examples", "verdict"))
    assert torch.equal(examples, verdicts)
    assert 5 < int(examples.sum()) < 60, "some broken, some not: or the test says nothing"


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["apgd_dlr_linf", "apgd_pm_linf", "apgd_dlr_l2", "apgd_pm_l2"])
def test_few_classes_reach_the_closed_form_too(name, classes):
    task = binary_task(name.rpartition("_")[2], classes)
    assert torch.equal(broken_by(f"{name}[steps=40]", task), task.breakable)


@pytest.mark.parametrize("name", NAMES)
def test_an_image_that_stands_costs_what_is_said(name):
    """Budgets so small that nothing breaks."""
    model = conv_net((1, 8, 8), 10)
    batch = some_images(model, (1, 8, 8), 4)
    attack = build_attack(f"{name}[steps=7,restarts=2]", {norm: {"eps": 1e-6} for norm in EPS})
    meter = Meter()
    run_attack(attack, model, batch, "verdict", meter, dealt(batch.labels, "passes"))
    assert meter.forwards + meter.backwards == 4 * attack.passes


# L1 as published.


class Recorder(torch.nn.Module):
    """A model that remembers what it was asked."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, images):
        self.asked.append(images.detach().clone())
        return self.model(images)


def test_the_iterates_are_the_authors():
    """In one ball, with several checks. Rounding can flip a close comparison: on few images."""
    theirs = pytest.importorskip("pyautoattack.autopgd_base")
    model = conv_net((3, 8, 8), 10).requires_grad_(False)
    batch, eps = some_images(model, (3, 8, 8), 40), 0.5
    noise = torch.randn(batch.images.shape, generator=stream("start"))
    ours, reference = Recorder(model), Recorder(model)
    search = Search(ours, *batch, "examples")
    rows = search.everyone()
    state = begin(search, rows, batch.images + noise, batch.labels, untargeted, eps)
    start = state.images + state.delta
    climb_ball(search, state, untargeted, eps, 50, True)
    attack = theirs.APGDAttack(reference, n_iter=50, norm="L1", eps=eps, device="cpu")
    attack.init_hyperparam(batch.images)
    attack.attack_single_run(batch.images, batch.labels, x_init=start)
    ours, reference = torch.stack(ours.asked), torch.stack(reference.asked)
    assert ours.shape == reference.shape
    away = (ours - reference).abs().flatten(2).amax(dim=2)
    assert (away[:3] < 1e-5).all(), "before the first look"
    assert ((away < 1e-4).all(dim=0)).float().mean() > 0.8
    assert (ours[-1] - ours[0]).abs().amax() > 0.1, "it moved"


@pytest.mark.parametrize("iterations", [1, 2, 3, 4, 10, 50, 100, 333])
def test_the_steps_in_all_balls_are_those_asked_for(iterations):
    found = balls(iterations)
    assert sum(steps for _, steps in found) == iterations
    assert all(steps > 0 for _, steps in found)
    assert [radius for radius, _ in found] == [3, 2, 1][-len(found) :]


def test_a_step_goes_along_the_steepest_coordinates():
    gradient = torch.randn(30, 3, 4, 5, generator=stream("gradient"))
    count = torch.randint(1, 61, (30,), generator=stream("count"))
    for one, many, step in zip(gradient, count.tolist(), steepest(gradient, count), strict=True):
        chosen = one.abs().flatten().argsort(descending=True)[:many]
        expected = torch.zeros(60)
        expected[chosen] = one.flatten()[chosen].sign() / many
        assert torch.allclose(step.flatten(), expected)


def test_flat_gradients_make_no_step():
    assert not steepest(torch.zeros(2, 1, 3, 3), torch.tensor([1, 9])).any()


def test_sparsity_is_two_thirds_of_what_moved():
    delta = torch.zeros(3, 1, 2, 5)
    delta[1, 0, 0, :3] = 0.1
    delta[2] = -0.1
    assert moved_by(delta).tolist() == [0, 3, 10]
    assert kept(moved_by(delta)).tolist() == [1, 2, 7]


def test_what_is_met_in_the_wider_balls_does_not_count():
    """An image that only three times the budget breaks."""
    task = linear_task(NormBall("l1", 1.0), n=24)
    far = (task.ratio > 1.05) & (task.ratio < 2)
    found = broken(AutoPGDL1(1.0, steps=40), task.model, task.batch, "verdict")
    wide = broken(AutoPGDL1(3.0, steps=40), task.model, task.batch, "verdict")
    assert far.any()
    assert wide[far].all()
    assert not found[far].any()
