"""Defenses made cheap, and models and images for which losses are known."""

from __future__ import annotations

import math

import torch
from torch import nn

from attacks.build import strengths_of
from baselines import DEFENSES
from baselines.training.ledger import Ledger
from benchmark.contracts.defense_probe import network_for
from benchmark.core.seeding import stream
from benchmark.core.specs import Spec
from benchmark.core.types import Batch
from benchmark.data import load

DIGITS = strengths_of("digits")
EPS = 0.15


def split(n=150):
    return load.load("digits", None, False, 0).train.first(n)


def build(text):
    return DEFENSES.build(Spec.parse(text))


def fit(text, n=150, network=None):
    network = network or network_for("digits")
    return build(text).fit(network, split(n), DIGITS, lambda share: None, stream("fit"))


def linear(seed=0, classes=3, pixels=16):
    """Logits W x + b, W of moderate size."""
    rng, layer = stream("linear", seed), nn.Linear(pixels, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, pixels, generator=rng))
        layer.bias.copy_(torch.randn(classes, generator=rng))
    return nn.Sequential(nn.Flatten(), layer)


def few(n=6, classes=3, seed=1):
    """Images 4 x 4 far from 0 and 1, so that no box gets in the way."""
    images = 0.3 + 0.4 * torch.rand(n, 1, 4, 4, generator=stream("few", seed))
    return Batch(images, torch.arange(n) % classes)


def loss_of(text, rng=None, **ledger):
    return build(text).loss(DIGITS, Ledger(**ledger), rng or stream("loss"))


def with_options(text, **options):
    spec = Spec.parse(text)
    return str(Spec(spec.name, (*spec.options, *((k, str(v)) for k, v in options.items()))))


def softmax(logits):
    exponentials = [math.exp(z) for z in logits]
    return [e / sum(exponentials) for e in exponentials]
