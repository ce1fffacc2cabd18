"""Negative control: a model that masks its gradients is flagged, by records and by the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from tiny_runs import run, tiny_plan
from torch import nn
from torch.nn.functional import interpolate

from baselines.standard import Standard
from benchmark.contracts.defense_rules import check_defense
from benchmark.core.types import Defense, Trained


class Quantised(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network((images * 16).round() / 16)


class Loud(Quantised):
    def forward(self, images):
        return 1000 * self.network(images)


class Resizing(Quantised):
    def forward(self, images):
        scale = float(1.1 + 0.5 * torch.rand(()))  # of few sizes, passes may draw the same
        large = interpolate(images, scale_factor=scale, mode="bilinear")
        return self.network(interpolate(large, size=(8, 8), mode="bilinear"))


class Softmaxed(Quantised):
    def forward(self, images):
        return self.network(images).softmax(dim=1)


@dataclass(frozen=True)
class Masked(Defense):
    """Standard training behind a wrapper that hides the gradient."""

    name: ClassVar[str] = "masked"
    wrapper: type = Quantised

    def fit(self, network, train_split, strengths, progress, rng):
        trained = Standard(epochs=6).fit(network, train_split, strengths, progress, rng)
        return Trained(self.wrapper(trained.model), trained.trained_on)


@pytest.mark.parametrize(
    ("wrapper", "flag"),
    [
        (Quantised, "zero gradients: 100% of images"),
        (Loud, "zero gradients: "),
        (Resizing, "randomised: "),
        (Softmaxed, "probabilities: "),
    ],
)
def test_a_model_that_masks_gradients_is_flagged_in_its_records(tmp_path, wrapper, flag):
    done = run(tiny_plan(defenses={"standard": Masked(wrapper)}), tmp_path)
    assert done.records[0].status == "done"
    assert any(found.startswith(flag) for found in done.records[0].flags)
    contract = check_defense(Masked(wrapper), "digits")
    assert any(check.status == "failed" for check in contract), "the contract sees it too"


def test_an_honest_model_is_not_flagged(tmp_path):
    assert run(tiny_plan(defenses="standard[epochs=6]"), tmp_path).records[0].flags == []


def test_masking_looks_robust_until_an_attack_needs_no_gradient(tmp_path):
    """What the flag is for: the quantiser beats PGD and loses to queries of the same size."""
    attacks = "pgd_linf[eps=0.25,steps=10],square[eps=0.25,queries=300]"
    plan = tiny_plan(attacks, {"standard": Masked()}, shots=[0])
    gradient, queries = run(plan, tmp_path).records
    robust = [record.outcome.before.unpack().mean() for record in (gradient, queries)]
    assert robust[0] > robust[1] + 0.3
