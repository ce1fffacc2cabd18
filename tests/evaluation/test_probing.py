"""Flags found on a few images: each kind by name, and none on sound models."""

from __future__ import annotations

import warnings

import pytest
import torch
from planted_models import Changed, fitted
from tiny_runs import prepare, tiny_plan
from torch import nn
from torch.nn.functional import hardsigmoid, linear, normalize, softsign

from baselines.build import GivenModel
from benchmark.core.errors import AuditError, ModelError
from benchmark.data import load
from benchmark.evaluation.probe import probe
from benchmark.evaluation.verdicts import frozen


@pytest.fixture(scope="module")
def batch():
    return load.load("digits", None, False, 0).validation.first(100).batch()


@pytest.fixture(scope="module")
def net():
    return fitted(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    )


def names(model, batch):
    return [flag.code for flag in probe(frozen(model), batch, 10).flags]


def in_low_precision(kind):
    """As autocast does it: weights and activations in `kind`."""

    def change(net, images):
        hidden = images.flatten(1).to(kind)
        for layer in (net[1], net[3]):
            hidden = linear(hidden, layer.weight.to(kind), layer.bias.to(kind))
            hidden = hidden.relu() if layer is net[1] else hidden
        return hidden.float()

    return change


def routed(net, images):
    """A mixture of experts: each image goes to one of two, in batches of their own."""
    bright = images.mean(dim=(1, 2, 3)) > 0.3
    logits = torch.zeros(len(images), 10)
    for chosen in (bright, ~bright):
        logits[chosen] = net(images[chosen])
    return logits


def only_left(net, images):
    """Looks at a part of the image: the rest moves nothing, and needs no gradient."""
    left = torch.ones_like(images)
    left[..., 6:] = 0
    return net(images * left)


SOUND = {
    "as it is": lambda net, images: net(images),
    "logarithms": lambda net, images: net(images).log_softmax(dim=1),
    "small": lambda net, images: net(images) / 100,
    "large": lambda net, images: net(images) * 3,
    "cosines": lambda net, images: 16 * normalize(net(images), dim=1),
    "positive": lambda net, images: net(images) + 100,
    "bfloat16": in_low_precision(torch.bfloat16),
    "half": in_low_precision(torch.float16),
    "float64": lambda net, images: net(images).double(),
    "routed": routed,
    "a part": only_left,
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_model_has_no_flag(net, batch, name):
    assert names(Changed(net, SOUND[name]), batch) == []


class Transformer(nn.Module):
    """Passes with and without gradients take different ways through torch's own layer."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(8, 32), nn.Linear(32, 10)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)

    def forward(self, images):
        return self.head(self.encoder(self.embed(images[:, 0])).mean(1))


class Normalised(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Flatten(), nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Tanh(), nn.Dropout(0.1),
            nn.LayerNorm(64), nn.Linear(64, 10),
        )  # fmt: skip


@pytest.mark.parametrize("make", [Transformer, Normalised])
def test_a_sound_network_of_another_kind_has_no_flag(batch, make):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch, of its own fast path
        assert names(fitted(make), batch) == []


def with_nan(net, images):
    """The slope of a root at 0 is not finite."""
    return net(images.sqrt().square())


def with_nan_if_dark(net, images):
    return net(images) + 0 * (images.amin(dim=(1, 2, 3)) - images[:, 0, 0, 0]).abs().sqrt()[:, None]


class AtRandom(torch.autograd.Function):
    """No way back."""

    @staticmethod
    def forward(ctx, logits):
        return logits.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("not written yet")


def detached(columns):
    def change(net, images):
        kept, cut = images[..., :columns], images[..., columns:].detach()
        return net(torch.cat([kept, cut], dim=-1))

    return change


def by_largest(net, images):
    """Quantised by hand, with one step for the whole batch."""
    step = images.abs().max() / 7
    rounded = (images / step).round() * step
    return net(images + (rounded - images).detach())


ODD = {
    "a sigmoid": (lambda net, x: net(x).sigmoid(), ["bounded"]),
    "a hard sigmoid": (lambda net, x: hardsigmoid(net(x)), ["bounded"]),
    "a tanh": (lambda net, x: net(x).tanh(), ["bounded"]),
    "a large tanh": (lambda net, x: 50 * net(x).tanh(), ["bounded"]),
    "a clamp": (lambda net, x: net(x).clamp(-3, 3), ["bounded"]),
    "a rectifier": (lambda net, x: net(x).relu(), ["bounded"]),
    "an arc": (lambda net, x: net(x).atan(), ["bounded"]),
    "a soft sign": (lambda net, x: softsign(net(x)), ["bounded"]),
    "a softmax": (lambda net, x: net(x).softmax(dim=1), ["probabilities"]),
    "roots": (with_nan, ["gradients not finite"]),
    "roots of some": (with_nan_if_dark, ["gradients not finite"]),
    "saturation": (lambda net, x: net(x) * 1e4, ["saturated", "zero gradients"]),
    "rounding": (lambda net, x: net((x * 8).round() / 8), ["quantised", "zero gradients"]),
    "half an image": (detached(4), ["missing gradients"]),
    "a column": (detached(7), ["missing gradients"]),
    "no gradient": (lambda net, x: net(x).detach(), ["no gradient"]),
    "another library": (lambda net, x: torch.tensor(net(x).detach().numpy()), ["no gradient"]),
    "inference": (lambda net, x: torch.inference_mode()(net)(x), ["no gradient"]),
    "no way back": (lambda net, x: AtRandom.apply(net(x)), ["no gradient"]),
    "the batch's mean": (lambda net, x: net(x - 0.05 * x.mean(0, keepdim=True)), ["batch"]),
    "the batch's largest": (by_largest, ["batch"]),
    "a neighbour": (lambda net, x: net(x) + 0.01 * net(x).flip(0), ["batch"]),
    "never alone": (lambda net, x: net((x - x.mean(0)) / x.std(0).clamp(min=0.1)), ["batch"]),
    "two faces": (lambda net, x: net(x * (1 - torch.is_grad_enabled() / 2)), ["gradient mode"]),
    "noise": (lambda net, x: net(x + 0.01 * torch.randn_like(x)), ["randomised"]),
}


@pytest.mark.parametrize("name", ODD)
def test_each_kind_is_flagged_by_its_name(net, batch, name):
    change, expected = ODD[name]
    assert names(Changed(net, change), batch) == expected


def test_a_model_that_cannot_answer_a_single_image_is_flagged(batch):
    together = nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=False), nn.Linear(64, 10)
    )
    (flag,) = probe(frozen(together), batch, 10).flags
    assert str(flag).startswith(
        "batch: the model does not answer a single image (ValueError: Expected"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net, x: {"logits": net(x)}, r"got a dict; return .* \(100, 10\) under 'logits'"),
        (lambda net, x: (net(x), x), r"got a tuple; return its tensor .* \(100, 10\) at \[0\]"),
        (lambda net, x: None, "got a NoneType; return one tensor"),
        (lambda net, x: net(x).numpy(), "got a ndarray; return one tensor"),
        (lambda net, x: net(x).argmax(dim=1), r"got shape \(100,\)"),
        (lambda net, x: net(x).t(), r"got shape \(10, 100\)"),
        (lambda net, x: net(x)[:, :, None, None], r"got shape \(100, 10, 1, 1\)"),
        (lambda net, x: net(x).round().int(), r"got torch.int32"),
        (lambda net, x: net(x)[:, :2], "a logit for each of 10 classes, got 2"),
    ],
)
def test_an_answer_that_is_no_logits_says_what_came_and_what_to_return(net, batch, change, message):
    with pytest.raises(ModelError, match=message):
        probe(frozen(Changed(net, change)), batch, 10)


def test_logits_must_be_finite(net, batch):
    with pytest.raises(AuditError, match="logits are not finite for 100 of 100 images"):
        probe(frozen(Changed(net, lambda net, x: net(x).log())), batch, 10)


def test_looking_at_a_model_draws_from_no_global_stream(net, batch):
    before = torch.get_rng_state()
    names(Changed(net, lambda net, x: net(x + torch.rand_like(x))), batch)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("size", [1, 2])
def test_one_or_two_images_are_enough(net, batch, size):
    few = batch.take(torch.arange(size))
    assert names(Changed(net, SOUND["as it is"]), few) == []


class Elsewhere(nn.Module):
    """A linear model with something of it on another device."""

    def __init__(self, what):
        super().__init__()
        self.what = what
        self.head = nn.Linear(64, 10, device="meta" if what == "weights" else None)
        self.shift = torch.zeros(64, device="meta" if what == "shift" else None)

    def forward(self, images):
        logits = self.head(images.flatten(1) + self.shift)
        return logits.to("meta") if self.what == "logits" else logits


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("weights", "its head.weight is on the device meta"),
        ("shift", r"its shift is on meta, and it runs on cpu; expected a buffer"),
        ("logits", "expected logits on cpu, where the images are, got them on meta"),
    ],
)
def test_a_model_on_the_wrong_device_is_one_line(what, said, tmp_path):
    """Meta stands for any device that is not the one asked for: it is on every machine."""
    plan = tiny_plan("fgsm", {"standard": GivenModel("own.py", lambda: Elsewhere(what))}, shots=[0])
    prepared = prepare(plan, tmp_path)
    ends_the_run = ModelError if what != "weights" else AuditError
    with pytest.raises(AuditError, match=said) as raised:
        prepared.model(plan.cells[0])
    assert type(raised.value) is ends_the_run
