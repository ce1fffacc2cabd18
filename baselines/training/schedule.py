"""How long training lasts, how fast it goes, and on what: all that is no part of a defense's loss.

Epochs are counted, or passes of images: `passes` is the budget under which defenses compare, since
one epoch costs one of them ten times what it costs another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from baselines.training.augmentation import check_augmentation
from baselines.training.ledger import Ledger
from benchmark.core.errors import UsageError
from benchmark.core.specs import added, check_numbers

MOMENTUM = 0.9
"""Of SGD, by Nesterov's rule."""


@dataclass(frozen=True)
class Schedule:
    """Options of training. Those that a recipe may set are neutral by default."""

    epochs: int = 40
    lr: float = 3e-3
    """At its highest; it falls to zero along a cosine."""
    batch_size: int = 64
    passes: int = 0
    """Passes of images, forward and backward, after which training ends; 0: after `epochs`. What
    `start` took comes on top."""
    ramp: float = 0.0
    """Share of training over which attacks grow to their full size. Whoever meets eps = 0.3 on
    MNIST with initial weights learns to call everything a one."""
    replays: int = added(1)
    """Updates on each batch, one after the other."""
    warmup: float = added(0.0)
    """Share of training over which the learning rate grows from zero."""
    optimizer: Literal["adam", "sgd"] = added("adam")
    weight_decay: float = added(0.0)
    augment: str = added("")
    """Views that are drawn of each image: crop and flip, joined by `+`."""
    average: float = added(0.0)
    """Weight of the past in a running average of the weights, which is what training ends with."""
    early_stopping: int = added(0)
    """Images held out of training, on which robust accuracy is measured after each epoch: training
    ends with the weights of the best one."""
    precision: Literal["float32", "bfloat16"] = added("float32")
    """Of the passes through the network; weights and images stay float32."""

    def __post_init__(self) -> None:
        """Refuse negative numbers, empty batches, shares and weights above 1."""
        check_numbers(self, least=0)
        name = getattr(self, "name", "schedule")
        if self.batch_size < 1:
            raise UsageError(f"{name}[batch_size={self.batch_size}]: expected at least 1")
        if self.warmup >= 1 or self.average >= 1:
            raise UsageError(f"{name}: expected warmup and average below 1")
        check_augmentation(self.augment)

    def make_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Of all weights of the model."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(
                model.parameters(), self.lr, MOMENTUM, weight_decay=self.weight_decay, nesterov=True
            )
        return torch.optim.Adam(model.parameters(), self.lr, weight_decay=self.weight_decay)


def clock(
    ledger: Ledger, updates: int, passes: int, since: Sequence[int] = (0, 0)
) -> Callable[[], float]:
    """Says which share of a budget is used: of `passes`, or of `updates` if that is 0.

    `since` is what the ledger held of both when the budget was given.
    """
    if passes:
        return lambda: (ledger.passes - since[0]) / passes
    return lambda: (ledger.updates - since[1]) / updates if updates else 1.0


def follow_cosine(optimizer: torch.optim.Optimizer, share: float, warmup: float = 0.0) -> None:
    """Rates are their first ones * (1 + cos(pi * share)) / 2 (Loshchilov & Hutter 2017).

    Over the first `warmup` of training they grow in proportion, then the cosine begins.
    """
    for group in optimizer.param_groups:
        first = group.setdefault("initial_lr", group["lr"])
        if share < warmup:
            group["lr"] = first * share / warmup
        else:
            group["lr"] = first * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup))) / 2
