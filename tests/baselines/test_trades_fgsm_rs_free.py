"""TRADES, fast and free adversarial training, each against its formula by hand."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from attack_tasks import dealt
from defense_tasks import (
    DIGITS,
    EPS,
    build,
    few,
    fit,
    linear,
    loss_of,
    softmax,
    split,
)

from baselines.fgsm_rs import FastStep
from baselines.free import Replay
from baselines.trades import Diverging, divergence
from baselines.training.ledger import Ledger
from baselines.training.loop import classification_loss, descend
from benchmark.contracts.toys import conv_net
from benchmark.core.seeding import stream
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import Meter, metered

# TRADES.


def test_the_divergence_is_that_of_the_two_softmaxes():
    clean, attacked = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[0.0, 0.3, -1.0]])
    p, q = softmax(clean[0].tolist()), softmax(attacked[0].tolist())
    expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert divergence(clean, attacked).item() == pytest.approx(expected, rel=1e-5)
    assert divergence(clean, clean).item() == 0
    assert divergence(clean, attacked).item() != pytest.approx(
        divergence(attacked, clean).item(), rel=0.01
    )


def test_the_trades_loss_is_its_formula(monkeypatch):
    """CE(p(x), y) + beta KL(p(x) || p(x')), x' given, in plain Python on a linear model."""
    model, batch = linear(), few()
    attacked = (batch.images + 0.1 * torch.randn(batch.images.shape, generator=stream("x'"))).clamp(
        0, 1
    )
    monkeypatch.setattr(Ledger, "perturb", lambda *_: Batch(attacked, batch.labels))
    found = loss_of("trades[beta=2.5]")(model, batch)
    expected = 0.0
    for x, moved, y in zip(batch.images, attacked, batch.labels.tolist(), strict=True):
        p, q = (softmax(model(image[None])[0].tolist()) for image in (x, moved))
        apart = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        expected += (-math.log(p[y]) + 2.5 * apart) / len(batch.labels)
    assert found.item() == pytest.approx(expected, rel=1e-4)


def test_gradients_flow_through_both_distributions(monkeypatch):
    """Against finite differences of the loss along random directions, in float64."""
    model, batch = linear().double(), few()
    images = batch.images.double()
    attacked = images + 0.1 * torch.randn(images.shape, generator=stream("x'")).double()
    monkeypatch.setattr(Ledger, "perturb", lambda *_: Batch(attacked, batch.labels))
    loss, weight = loss_of("trades[beta=2.5]"), model[1].weight
    (gradient,) = torch.autograd.grad(loss(model, Batch(images, batch.labels)), [weight])
    for turn in range(3):
        direction = torch.randn(weight.shape, generator=stream("direction", turn)).double()
        ends = []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                weight += step * direction
                ends.append(loss(model, Batch(images, batch.labels)).item())
                weight -= step * direction
        slope = (ends[0] - ends[1]) / 2e-4
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_the_inner_maximum_is_that_of_two_classes():
    """There KL grows with the change of the logit difference, so an optimum is a corner: +-eps."""
    model, batch = linear(classes=2), few(classes=2)
    attack = Diverging(EPS, steps=20)
    found = attack.perturb(model, batch.images, batch.labels, "examples", dealt(batch.labels))
    direction = (model[1].weight[0] - model[1].weight[1]).sign().view(1, 1, 4, 4)
    corners = torch.stack([batch.images + sign * EPS * direction for sign in (1, -1)])
    clean = model(batch.images)
    reached = divergence(clean, model(found))
    heights = torch.stack([divergence(clean, model(corner)) for corner in corners])
    near = torch.minimum((reached - heights[0]).abs(), (reached - heights[1]).abs())
    assert near.max() < 1e-4, "the last iterate sits in one of the two corners"
    other = torch.where(batch.labels == 0, 1, 0)
    again = attack.perturb(model, batch.images, other, "examples", dealt(batch.labels))
    assert torch.equal(found, again), "labels play no part"


# Fast training.


def test_the_fast_step_goes_one_and_a_quarter_and_comes_back_into_the_ball():
    """On a linear model the sign of the gradient is known: clip(start + 1.25 eps sign, eps)."""
    model, batch = linear(classes=2), few(classes=2, n=8)
    attack = FastStep(EPS, steps=1, step_size=1.25 * EPS)
    with metered(model, meter := Meter()):
        found = attack.perturb(model, batch.images, batch.labels, "examples", dealt(batch.labels))
    assert (meter.forwards, meter.backwards) == (8, 8)
    delta = found - batch.images
    assert delta.abs().max() <= EPS + 1e-6
    sign = (model[1].weight[1] - model[1].weight[0]).sign().view(1, 1, 4, 4)
    toward = delta * torch.where(batch.labels == 0, 1, -1).view(-1, 1, 1, 1) * sign
    start = toward - 1.25 * EPS
    assert toward.min() >= 0.25 * EPS - 1e-6, "from -eps, a quarter of eps is left over"
    inside = toward < EPS - 1e-6
    assert inside.any(), "not every pixel ends at the edge"
    assert (start[inside] >= -EPS - 1e-6).all()
    share = float((~inside).float().mean())
    assert share == pytest.approx(0.625, abs=0.15), "starts above -eps / 4 reach the edge"


def test_fast_training_takes_that_step_at_the_strength_of_the_data_set():
    (attack,) = build("fgsm_rs").training_attacks(DIGITS)
    assert (attack.eps, attack.stride) == (EPS, 1.25 * EPS)
    (slow,) = build("fgsm_rs[step=0.5]").training_attacks(DIGITS)
    assert slow.stride == 0.5 * EPS


# Free training.


def test_free_training_is_its_algorithm():
    """Shafahi et al., algorithm 1, written out with plain SGD on batches of different sizes.

    In float64: the sign of a gradient near 0 must not depend on rounding.
    """
    ours, plain = linear().double(), linear().double()
    batches = [Batch(few(n, seed=n).images.double(), few(n).labels) for n in (20, 12, 18)]
    loss, optimizer = Replay(EPS, Ledger()), torch.optim.SGD(ours.parameters(), lr=0.05)
    delta = torch.zeros(20, 1, 4, 4).double()
    for batch in batches:
        for _ in range(4):
            descend(loss(ours, batch), optimizer, "now")
            images = delta[: len(batch.labels)].clone().requires_grad_()
            value = classification_loss(
                plain, Batch((batch.images + images).clamp(0, 1), batch.labels)
            )
            *weights, moved = torch.autograd.grad(value, [*plain.parameters(), images])
            with torch.no_grad():
                for tensor, gradient in zip(plain.parameters(), weights, strict=True):
                    tensor.sub_(0.05 * gradient)
                step = images + EPS * moved.sign()
                delta[: len(batch.labels)] = step.clamp(-EPS, EPS)
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-12)
    assert delta.abs().max() == pytest.approx(EPS)


def test_free_training_replays_each_batch_with_one_pass_each_way():
    cost = fit("free[epochs=2,replays=5]").cost
    assert (cost.updates, cost.images) == (2 * 3 * 5, 2 * 150 * 5)
    assert (cost.forwards, cost.backwards) == (1500, 1500)


def test_free_training_counts_as_seen_what_it_makes_itself():
    assert fit("free[epochs=1]").trained_on == {"linf-gradient"}


def test_training_leaves_the_model_it_attacks_in_its_mode():
    model = conv_net((1, 8, 8), 10)
    before = deepcopy(model.state_dict())
    batch, ledger = split(20).batch(), Ledger()
    for text in ("trades", "fgsm_rs"):
        (attack,) = build(text).training_attacks(DIGITS)
        attacked = ledger.perturb(attack, model.train(), batch, stream("mode"))
        assert model.training
        assert attack.threat.inside(batch.images, attacked.images).all()
        assert attacked.images.min() >= 0
        assert attacked.images.max() <= 1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
