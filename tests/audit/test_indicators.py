"""Indicators of attack failure: closed forms, and models that have them."""

import pytest
import torch
from audit_subjects import (
    BASE,
    Quantised,
    Restless,
    Shattered,
    Turned,
    Wrapped,
    planted,
    subject_of,
)
from planted_models import trained
from torch import nn

from benchmark.audit.indicators import Path, followed, incomplete, indicators, instability, silent
from benchmark.core.streams import Streams
from benchmark.core.types import Batch


@pytest.mark.parametrize(
    ("wrapper", "codes"),
    [
        (Quantised, {"unconstrained"}),
        (Turned, {"unconstrained"}),
        (Shattered, {"unstable", "unconstrained"}),
        (Restless, {"unstable", "not repeated"}),
    ],
)
def test_planted_models(wrapper, codes):
    found = indicators(planted(wrapper))
    assert codes <= {flag.code for flag in found.flags}


def test_instability_of_a_linear_model_is_the_share_that_its_margin_moves():
    """Two classes, margin 2 w x with w = 1 on one pixel: mean |u| of U(-r/2, r/2) is r/4."""
    layer = nn.Linear(1, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0], [-1.0]])
    model = nn.Sequential(nn.Flatten(), layer)
    images = torch.full((400, 1, 1, 1), 0.5)
    batch = Batch(images, torch.zeros(400, dtype=torch.int64))
    found = instability(model, batch, 8 / 255, Streams.named(400, "near"))
    assert float(found) == pytest.approx((8 / 255) / 4 / 0.5, rel=0.1)


def test_silent_success_is_an_iterate_that_was_wrong_before_a_last_one_that_is_not():
    wrong = torch.tensor([[False, True, False], [True, True, False], [False, True, False]])
    assert silent(Path(torch.zeros(3, 3), wrong)).tolist() == [True, False, False]


def test_incomplete_is_a_loss_that_still_rises_at_last():
    rising, done = torch.linspace(0, 1, 41), torch.linspace(0, 1, 41).clamp_max(0.5)
    late = torch.where(torch.arange(41) == 40, 1.0, 0.0)
    losses = torch.stack([rising, done, torch.zeros(41), late, 1000 * done], dim=1)
    assert incomplete(Path(losses, losses > 2)).tolist() == [True, False, False, True, False]


class Flickering(Wrapped):
    """Says the opposite where one corner is at the edge of the ball, whose gradient says nothing
    of that: searches come and go."""

    def forward(self, images):
        logits = self.network(images)
        edge = images[:, 0, 0, :1].detach() > 0.12
        return torch.where(edge, -logits, logits)


def test_no_silent_success_gets_past_the_engine():
    """Where an iterate was wrong and the last one is right, the engine returns the wrong one."""
    subject = planted(Flickering)
    right = subject.right()
    batch = subject.batch.take(right)
    search = followed(subject, batch, right)
    missed = silent(search.path)
    assert missed.any(), "the last iterate alone would be a silent success"
    answers = subject.model(search.best[missed]).argmax(dim=1)
    assert (answers != batch.labels[missed]).all()


def test_where_no_image_is_right_nothing_is_said():
    class Backwards(Wrapped):
        def forward(self, images):
            return -self.network(images)

    found = indicators(subject_of(Backwards(trained(BASE)), n=10))
    assert found.flags == []
    assert found.skipped == "no image is right without an attack"
