"""Models and images for the tests of third-party attacks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from attacks.build import build_attack
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams


def network(channels: int, seed: int = 0) -> nn.Module:
    """A random convolutional network with batch normalisation and dropout, in eval mode."""
    with torch.random.fork_rng():
        torch.random.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.5), nn.Linear(6 * 64, 10),
        ).eval()  # fmt: skip


def images_for(model: nn.Module, channels: int, n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Images with pixels at 0 and 1 among them, and labels that the model gets right."""
    images = torch.rand(n, channels, 8, 8, generator=stream("images")) * 1.2 - 0.1
    images = images.clamp(0, 1)
    return images, model(images).argmax(dim=1)


class Linear(nn.Module):
    """Two opposed logits, +-w.x / 2, and `classes - 2` hopeless ones: the margin is w.x."""

    def __init__(self, weights: torch.Tensor, classes: int) -> None:
        super().__init__()
        self.weights, self.classes = nn.Parameter(weights), classes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        half = images.flatten(1) @ self.weights / 2
        others = (half[:, None] * 0 - 50).expand(-1, self.classes - 2)
        return torch.cat([half[:, None], -half[:, None], others], dim=1)


EPS = {"linf": 0.05, "l2": 0.35}


class LinearTask(NamedTuple):
    """A linear model, images, labels (all 0), and which images can be broken: closed form."""

    model: nn.Module
    images: torch.Tensor
    labels: torch.Tensor
    breakable: torch.Tensor


def linear_task(norm: str, classes: int = 2) -> LinearTask:
    """Images whose margins are 0.5 to 1.5 times what EPS can take away.

    That is eps * ||w||_1 in linf, eps * ||w||_2 in l2, as long as the box does not bind.
    """
    weights = torch.randn(64, generator=stream("weights"))
    reach = EPS[norm] * float(weights.norm(p={"linf": 1, "l2": 2}[norm]))
    wanted = torch.linspace(0.5, 1.5, 40) * reach
    images = 0.5 + 0.05 * torch.randn(40, 64, generator=stream("linear images"))
    images += (wanted - images @ weights)[:, None] * weights / weights.square().sum()
    best = EPS[norm] * (weights.sign() if norm == "linf" else weights / weights.norm())
    assert (images - best).min() > 0, "the box binds"
    assert (images - best).max() < 1, "the box binds"
    labels = torch.zeros(40, dtype=torch.int64)
    return LinearTask(Linear(weights, classes), images.view(-1, 1, 8, 8), labels, wanted < reach)


def broken_by(spec: str, task: LinearTask) -> torch.Tensor:
    """Which images the attack really breaks inside the budget, bool (40,)."""
    attack = build_attack(spec, {norm: {"eps": eps} for norm, eps in EPS.items()})
    perturbed = attack.perturb(
        task.model, task.images, task.labels, "verdict", dealt(task.labels, "linear")
    )
    inside = attack.threat.inside(task.images, perturbed)
    return inside & (task.model(perturbed).argmax(dim=1) != task.labels)


def dealt(images, *names):
    """A stream for each image of a batch (or each label)."""
    return Streams.named(len(images), *names)
