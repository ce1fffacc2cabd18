"""Running an attack, verdicts, costs, hashes and suspicions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest
import torch
from attack_tasks import dealt
from torch import nn
from torch.nn.functional import cross_entropy

from attacks.gradient import PGDLinf
from benchmark.contracts.toys import conv_net, some_images
from benchmark.core.errors import AuditError, ModelError
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.evaluation.batch_size import pieces
from benchmark.evaluation.probe import probe
from benchmark.evaluation.verdicts import (
    Attacked,
    Meter,
    check_reattack,
    correct,
    frozen,
    metered,
    run_attack,
    state_hash,
    survives,
)

EPS = 0.1
SHAPE = (1, 8, 8)


@dataclass(frozen=True)
class Fixed(PGDLinf):
    """Proposes what it was told to."""

    eps: float = EPS
    change: object = None

    def perturb(self, model, images, labels, goal, rng):
        return self.change(images)


def images(n=6):
    return 0.2 + 0.6 * torch.rand(n, *SHAPE, generator=stream("audit"))


# Running an attack.


@dataclass(frozen=True)
class Meddling(PGDLinf):
    """Does something to the model."""

    eps: float = EPS
    meddle: object = None

    def perturb(self, model, images, labels, goal, rng):
        self.meddle(model)
        return images


@torch.no_grad()
def weights(model):
    next(model.parameters()).view(-1)[0] += 1e-3


def statistics(model):
    model[1].running_mean += 1e-3


@pytest.mark.parametrize(
    ("meddle", "message"),
    [
        (weights, "changed the weights or buffers"),
        (statistics, "changed the weights or buffers"),
        (lambda model: model.train(), "left the model in train mode"),
        (lambda model: model[4].train(), "left the model in train mode"),
    ],
)
def test_an_attack_may_not_meddle_with_the_model(meddle, message):
    model = conv_net(SHAPE, 10)
    batch = some_images(model, SHAPE, 6)
    with pytest.raises(AuditError, match=message):
        run_attack(
            Meddling(meddle=meddle), model, batch, "examples", Meter(), dealt(batch.labels, "x")
        )


def test_an_attack_gets_copies():
    model = conv_net(SHAPE, 10)
    batch = some_images(model, SHAPE, 6)
    before = batch.images.clone()
    attack = Fixed(change=lambda given: given.sub_(0.05).clamp_(0, 1))
    attacked = run_attack(attack, model, batch, "examples", Meter(), dealt(batch.labels, "x"))
    assert torch.equal(batch.images, before)
    assert torch.equal(attacked.images, (before - 0.05).clamp(0, 1))


def test_large_batches_go_in_pieces_and_come_back_in_order():
    big = Batch(torch.rand(2300, 1, 2, 2), torch.arange(2300))
    parts = list(pieces(big.images))
    assert [len(rows) for rows in parts] == [767, 767, 766]
    assert torch.cat(parts).tolist() == list(range(2300))
    wide = Batch(torch.rand(3, 3, 500, 500), torch.arange(3))
    assert [len(rows) for rows in pieces(wide.images)] == [1, 1, 1]
    model = conv_net(SHAPE, 10)
    batch = some_images(model, SHAPE, 1500)
    attacked = run_attack(
        Fixed(change=lambda x: (x - 0.05).clamp(0, 1)),
        model,
        batch,
        "examples",
        Meter(),
        Streams.named(len(batch.labels)),
    )
    assert torch.equal(attacked.images, (batch.images - 0.05).clamp(0, 1))


# Verdicts.


class Told(nn.Module):
    """Class 0 where the first pixel is dark, class 1 where it is bright."""

    def forward(self, images):
        first = images[:, 0, 0, 0]
        return torch.stack([0.5 - first, first - 0.5], dim=1)


def test_verdicts_are_predictions():
    given = images(4)
    given[:, 0, 0, 0] = torch.tensor([0.1, 0.9, 0.1, 0.9])
    labels = torch.tensor([0, 1, 1, 0])
    assert correct(Told(), Batch(given, labels)).tolist() == [True, True, False, False]
    assert correct(Told(), Batch(given[:0], labels[:0])).tolist() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda logits: logits * float("nan"), "not finite for 4 of 4 images"),
        (lambda logits: logits / 0, "not finite"),
        (lambda logits: logits[:, 0], r"return logits \(batch, classes\) for 4 .* \(4,\)"),
        (lambda logits: logits[:2], r"got shape \(2, 2\)"),
    ],
)
def test_logits_that_are_none_give_no_verdict(change, message):
    class Odd(Told):
        def forward(self, images):
            return change(super().forward(images))

    with pytest.raises(AuditError, match=message):
        correct(Odd(), Batch(images(4), torch.zeros(4, dtype=torch.int64)))


def test_survivors_were_right_before_and_after_and_the_wrong_are_left_alone():
    given = images(4)
    given[:, 0, 0, 0] = torch.tensor([0.1, 0.45, 0.45, 0.9])
    labels = torch.tensor([0, 0, 1, 1])  # right, right but near, wrong and near, right
    seen = []

    def brighten(part):
        seen.append(len(part))
        return part + EPS

    verdicts, attacked = survives(
        Fixed(change=brighten), Told().eval(), Batch(given, labels), Meter(), dealt(labels)
    )
    assert verdicts.tolist() == [True, False, False, True]
    assert seen == [3], "the wrong one is broken already, and an attack would have helped it"
    assert attacked.outside.tolist() == [False] * 4


def test_a_reattack_is_of_the_adapted_model():
    trained, adapted = conv_net(SHAPE, 10), conv_net(SHAPE, 3)
    check_reattack(Attacked(images(), state_hash(adapted), 0), adapted)
    with pytest.raises(AuditError, match="another model than the adapted"):
        check_reattack(Attacked(images(), state_hash(trained), 0), adapted)


def test_a_state_hash_sees_every_tensor_and_every_bit():
    model = conv_net(SHAPE, 10)
    seen = {state_hash(model)}
    for name, tensor in model.state_dict().items():
        changed = conv_net(SHAPE, 10)
        flat = changed.state_dict()[name].view(-1)
        flat[-1] = torch.nextafter(flat[-1], torch.tensor(9.0)) if tensor.is_floating_point() else 7
        seen.add(state_hash(changed))
    assert len(seen) == 1 + len(model.state_dict())
    assert state_hash(conv_net(SHAPE, 10)) == state_hash(model)


def test_frozen_is_a_copy_that_stays_in_eval_mode():
    model = conv_net(SHAPE, 10).train()
    copy = frozen(model)
    assert model.training
    assert not any(module.training for module in copy.modules())
    assert not any(parameter.requires_grad for parameter in copy.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())

    class Stubborn(nn.Dropout):
        def train(self, mode=True):
            return super().train(True)

    with pytest.raises(ModelError, match="stays in train mode"):
        frozen(nn.Sequential(Stubborn()))


# Costs.


def test_every_pass_of_an_image_is_counted_once():
    model, meter = conv_net(SHAPE, 10), Meter()
    batch = some_images(model, SHAPE, 7)
    given = batch.images.clone().requires_grad_()
    with metered(model, meter):
        with torch.no_grad():
            model(given)
        assert (meter.forwards, meter.backwards) == (7, 0)
        loss = cross_entropy(model(given), batch.labels)
        assert (meter.forwards, meter.backwards) == (14, 0)
        torch.autograd.grad(loss, given)
        assert (meter.forwards, meter.backwards) == (14, 7)
        model(given[:2])
    model(given)
    assert (meter.forwards, meter.backwards) == (16, 7)
    assert meter.seconds > 0


@pytest.mark.parametrize(("steps", "restarts"), [(1, 1), (4, 1), (3, 2)])
def test_attacks_cost_what_they_say(steps, restarts):
    model, meter = conv_net(SHAPE, 10), Meter()
    batch = some_images(model, SHAPE, 9)
    attack = PGDLinf(EPS, steps=steps, restarts=restarts)
    run_attack(attack, model, batch, "examples", meter, Streams.named(len(batch.labels)))
    assert meter.forwards + meter.backwards == 9 * attack.passes
    assert meter.backwards == 9 * steps * restarts


# Suspicions.


def flags_of(change):
    class Suspect(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

        def forward(self, given):
            return change(self.network, given)

    model = Suspect()
    model.network[1].weight.data = torch.randn(10, 64, generator=stream("suspect"))
    return probe(frozen(model), some_images(model, SHAPE, 10), 10).flags


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (lambda f, x: f(x), []),
        (lambda f, x: f(x).softmax(1), ["probabilities"]),
        (lambda f, x: f(x + 0.1 * torch.rand(x.shape)), ["randomised"]),
        (lambda f, x: f((x * 8).round() / 8), ["quantised", "zero gradients"]),
        (lambda f, x: f(x) * 1e4, ["saturated", "zero gradients"]),
        (lambda f, x: f(x).detach(), ["no gradient"]),
        (
            lambda f, x: f((x + 0.1 * torch.rand(x.shape)).round()).softmax(1),
            ["randomised", "probabilities", "zero gradients"],
        ),
    ],
)
def test_what_is_suspicious(change, flags):
    assert [flag.code for flag in flags_of(change)] == flags


def test_the_fast_layout_changes_no_value():
    """Convolutions with channels last for max pooling, but not around a GroupNorm."""
    images = torch.rand(20, 3, 8, 8, generator=stream("layout"))
    norms, pools = (nn.BatchNorm2d(12), nn.GroupNorm(3, 12)), (nn.MaxPool2d(2), nn.AvgPool2d(2))
    for norm, pool in product(norms, pools):
        last = norm is norms[0] and pool is pools[0]
        network = nn.Sequential(nn.Conv2d(3, 12, 3), norm, pool, nn.Flatten()).eval()
        copy = frozen(network)
        weight = copy[0].weight
        assert weight.is_contiguous(memory_format=torch.channels_last) is last
        assert network[0].weight.is_contiguous(), "the model itself is left as it is"
        assert state_hash(copy) == state_hash(network)
        assert torch.allclose(copy(images), network(images), atol=1e-6)
