"""Models and training broken in one way each: the contract says in which."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from baselines import DEFENSES
from baselines.build import GivenModel
from benchmark.contracts.defense_probe import network_for
from benchmark.contracts.defense_rules import check_defense
from benchmark.core.types import Trained


def failed(checks):
    return {check.name: check.message for check in checks if check.status == "failed"}


class Wrapper(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = network_for("digits")

    def forward(self, images):
        return self.change(self.network(self.before(images)))

    def before(self, images):
        return images

    def change(self, logits):
        return logits


class Good(Wrapper):
    pass


class StaysInTrainMode(Wrapper):
    def eval(self):
        return self


class Nan(Wrapper):
    def change(self, logits):
        return logits * float("nan")


class Classes(Wrapper):
    def change(self, logits):
        return logits.argmax(dim=1).float()


class Probabilities(Wrapper):
    def change(self, logits):
        return logits.softmax(dim=1)


class Random(Wrapper):
    def before(self, images):
        return images + 0.1 * torch.randn_like(images)


class Quantised(Wrapper):
    def before(self, images):
        return (images * 8).round() / 8


class Detached(Wrapper):
    def change(self, logits):
        return logits.detach()


class Together(Wrapper):
    """What an image is depends on its neighbours."""

    def change(self, logits):
        return logits - logits.mean(dim=0)


class Hungry(Wrapper):
    def before(self, images):
        return images[:, :, :3]


BROKEN_MODELS = [
    (StaysInTrainMode, "gives a model", "stays in train mode after eval()"),
    (Hungry, "gives a model", "expected a model of images in [0, 1], it took none ((1, 8, 8)"),
    (Nan, "gives finite logits", "NaN or infinity for 8 of 8 images"),
    (Classes, "gives finite logits", "expected logits (batch, classes), got shape (8,)"),
    (Probabilities, "gives logits not probabilities", "expected logits"),
    (Random, "answers the same twice", "randomised"),
    (Together, "judges each image by itself", "expected the same logits alone and in a batch"),
    (Quantised, "gradient reaches the images", "zero gradients: 100% of images"),
    (Detached, "gradient reaches the images", "logits do not depend differentiably"),
    (Detached, "adaptation moves a copy only", "expected parameters that move"),
]


@pytest.mark.parametrize(("model", "rule", "message"), BROKEN_MODELS)
def test_a_broken_model_fails_its_check(model, rule, message):
    given = GivenModel("mine.py:MODEL", model, frozenset())
    problems = failed(check_defense(given, "digits"))
    assert rule in problems
    assert message in problems[rule]


def test_a_given_model_skips_what_is_about_training():
    checks = list(check_defense(GivenModel("mine.py:MODEL", Good), "digits"))
    assert failed(checks) == {}
    skipped = {check.name: check.message for check in checks if check.status == "skipped"}
    assert skipped.keys() == {
        "same stream same model", "reports progress from 0 to 1", "survives saving and loading",
        "says what it was trained on", "its own attacks keep the rules",
    }  # fmt: skip
    assert "declare `trained_on`" in skipped["says what it was trained on"]


@dataclass(frozen=True)
class Training(DEFENSES.get("standard")):
    """Standard training before it is broken."""


class Forgetful(Training):
    """Does not draw from rng."""

    def fit(self, network, train_split, strengths, progress, rng):
        draws = torch.Generator().manual_seed(torch.initial_seed())
        return super().fit(network, train_split, strengths, progress, draws)


class Backwards(Training):
    def fit(self, network, train_split, strengths, progress, rng):
        progress(1.0)
        progress(0.5)
        return super().fit(network, train_split, strengths, progress, rng)


class Boasting(Training):
    def fit(self, network, train_split, strengths, progress, rng):
        trained = super().fit(network, train_split, strengths, progress, rng)
        return Trained(trained.model, frozenset({"everything"}))


class Reseeding(Training):
    def fit(self, network, train_split, strengths, progress, rng):
        random.seed(0)
        return super().fit(network, train_split, strengths, progress, rng)


@pytest.mark.parametrize(
    ("defense", "rule"),
    [
        (Forgetful, "same stream same model"),
        (Backwards, "reports progress from 0 to 1"),
        (Boasting, "says what it was trained on"),
        (Boasting, "plans what it trains on"),
        (Reseeding, "leaves global random state untouched"),
    ],
)
def test_broken_training_fails_its_check(defense, rule):
    assert rule in failed(check_defense(defense(), "digits"))
