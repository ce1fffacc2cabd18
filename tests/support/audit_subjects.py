"""Models that a test builds by hand, made subjects of an audit; nothing is read from a folder."""

from __future__ import annotations

from functools import cache

import torch
from planted_models import trained
from tiny_runs import tiny_plan
from torch import nn

from attacks.build import strengths_of
from benchmark.artifacts.attacker import Attacker
from benchmark.artifacts.models import Model
from benchmark.artifacts.settings import ProgressListener, RunSettings
from benchmark.audit.subject import Subject
from benchmark.core.types import Surrogate
from benchmark.data.load import load
from benchmark.evaluation.verdicts import frozen, state_hash

BASE = "standard[epochs=6]"
"""The sound network behind all of them."""


@cache
def digits():
    return load("digits", None, False, 0)


@cache
def planted(wrapper: type[nn.Module], n: int = 60, eps: float | None = None) -> Subject:
    """The subject of a wrapper below, around a sound network: what it was attacked with is kept."""
    return subject_of(wrapper(trained(BASE)), n, eps)


def subject_of(model: nn.Module, n: int = 60, eps: float | None = None) -> Subject:
    """A subject of `n` validation images; whoever attacks it has one that is trained as usual."""
    data = digits()
    strengths = dict(strengths_of(data.name, data.shape))
    if eps is not None:
        strengths["linf"] = {"eps": eps}
    network, cell = frozen(model), tiny_plan().cells[0]
    held = Model(network, network, None, state_hash(network), "", [])
    kept = {Surrogate(): trained(BASE)}
    attacker = Attacker(cell, data, RunSettings(), ProgressListener(), kept)
    batch = data.validation.first(n).batch()
    return Subject(cell, held, batch, data.classes, strengths, attacker)


class Wrapped(nn.Module):
    """What the planted models have in common: a network behind something."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network


class Quantised(Wrapped):
    """Zero gradients: values are rounded to 16 steps."""

    def forward(self, images):
        return self.network((images * 16).round() / 16)


class Loud(Wrapped):
    """The cross-entropy saturates."""

    def forward(self, images):
        return 10_000 * self.network(images)


class Shattered(Wrapped):
    """Waves on the logits, much shorter than any step."""

    def forward(self, images):
        logits = self.network(images)
        phase = 3000 * images.flatten(1).mean(1, keepdim=True)
        return logits + 2 * (phase * torch.arange(1, logits.shape[1] + 1)).sin()


class Turned(Wrapped):
    """Gradients point the other way."""

    def forward(self, images):
        logits = self.network(images)
        return 2 * logits.detach() - logits


class WholeAlone(Wrapped):
    """No gradient, unless the image lies on the grid of its values, as only whole images do."""

    def forward(self, images):
        logits = self.network(images)
        whole = ((images * 16).round() / 16 - images).abs().flatten(1).amax(1, keepdim=True) < 1e-6
        return torch.where(whole, logits, logits.detach() + 0 * logits)


class Restless(Wrapped):
    """Noise on the image, another one each time."""

    def forward(self, images):
        return self.network(images + 0.3 * torch.randn_like(images))


class Rippled(Wrapped):
    """A fine ripple on the image: many small optima, which long searches find at last."""

    def forward(self, images):
        return self.network((images + 0.15 * (200 * images).sin()).clamp(0, 1))


class Guarded(Wrapped):
    """No gradient where the left column, in which no digit has ink, is brighter than 0.16."""

    def forward(self, images):
        logits = self.network(torch.cat([0 * images[..., :1], images[..., 1:]], dim=-1))
        bright = images[:, 0, :, 0].amax(dim=1, keepdim=True).detach() > 0.16
        return torch.where(bright, logits.detach() + 0 * logits, logits)


class Lottery(Wrapped):
    """No gradient, unless a start made one corner bright, which changes nothing else."""

    def forward(self, images):
        logits = self.network(torch.cat([0 * images[..., :1, :], images[..., 1:, :]], dim=-2))
        wins = images[:, 0, 0, :1].detach() > 0.92 * 0.15
        return torch.where(wins, logits, logits.detach() + 0 * logits)
