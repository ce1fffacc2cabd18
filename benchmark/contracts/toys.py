"""Models so small that the right answer is known: what contracts and tests measure against."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Batch, NormBall, Shape

SIDE = 8
HOPELESS = -50.0


class Linear(nn.Module):
    """Logits +-margin / 2 and hopeless ones for the other classes; margin = weights.x + bias."""

    def __init__(self, weights: Tensor, bias: Tensor, classes: int) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(weights), nn.Parameter(bias)
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        half = (images.flatten(1) @ self.weights + self.bias) / 2
        others = (half[:, None] * 0 + HOPELESS).expand(-1, self.classes - 2)
        return torch.cat([half[:, None], -half[:, None], others], dim=1)


class LinearTask(NamedTuple):
    """A linear model, images of class 0, and how hard each of them is to break."""

    model: nn.Module
    batch: Batch
    ratio: Tensor
    """Margin over what the threat can take away, float64 (batch,): below 1 it can be broken."""


def linear_task(threat: NormBall, channels: int = 1, classes: int = 10, n: int = 24) -> LinearTask:
    """Grey images whose ratios are spread around 1, for a threat in linf, l2, l1 or l0."""
    rng = stream("toy", "linear", channels)
    size = channels * SIDE * SIDE
    weights = torch.randn(size, generator=rng)
    images = 0.5 + 0.05 * torch.randn(n, size, generator=rng)
    reach = float(largest_decrease(weights, images, threat, channels).mean())
    bias = torch.tensor(reach)
    wanted = torch.linspace(0.5, 1.5, n) * reach
    images += (wanted - images @ weights - bias)[:, None] * weights / weights.square().sum()
    images = images.clamp(0, 1)
    margin = images.double() @ weights.double() + bias.double()
    ratio = margin / largest_decrease(weights, images, threat, channels)
    batch = Batch(images.view(n, channels, SIDE, SIDE), torch.zeros(n, dtype=torch.int64))
    return LinearTask(Linear(weights, bias, classes).eval(), batch, ratio)


def largest_decrease(weights: Tensor, images: Tensor, threat: NormBall, channels: int) -> Tensor:
    """How far weights.x can fall inside the ball and [0, 1], exactly: float64 (batch,).

    With room_i the way from x_i to the edge it is pushed to, and sizes |w_i|: linf takes
    min(eps, room_i) everywhere; l1 fills the steepest coordinates first (a fractional knapsack);
    l0 the best pixels; l2 takes min(t |w_i|, room_i) with the t that spends eps (its Lagrangian).
    """
    slope, pixels = weights.double(), images.flatten(1).double()
    room = torch.where(slope > 0, pixels, 1 - pixels)
    slope = slope.abs()
    if threat.norm == "linf":
        return (slope * room.clamp(max=threat.eps)).sum(dim=1)
    if threat.norm == "l1":
        order = slope.argsort(descending=True)
        room, slope = room[:, order], slope[order]
        spent = room.cumsum(dim=1) - room
        return (slope * torch.minimum(room, (threat.eps - spent).clamp_min(0))).sum(dim=1)
    if threat.norm == "l0":
        gains = (slope * room).view(len(room), channels, -1).sum(dim=1)
        best = gains.topk(min(int(threat.eps), gains.shape[1]), dim=1)
        return best.values.sum(dim=1)
    return (slope * _l2_move(slope, room, threat.eps)).sum(dim=1)


def _l2_move(slope: Tensor, room: Tensor, eps: float) -> Tensor:
    """min(t * slope, room) of l2 size eps, t by bisection; all the room if eps exceeds it."""
    low, high = torch.zeros(len(room), 1).double(), torch.full((len(room), 1), 1e9).double()
    for _ in range(100):
        middle = (low + high) / 2
        fits = torch.minimum(middle * slope, room).norm(dim=1, keepdim=True) <= eps
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return torch.minimum(low * slope, room)


class LittleMemory(nn.Module):
    """A model that has memory for `most` images at once; `largest` is the most it was asked."""

    def __init__(self, model: nn.Module, most: float = math.inf) -> None:
        super().__init__()
        self.model, self.most, self.largest = model, most, 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        self.largest = max(self.largest, len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError(f"memory for {self.most} images, not for {len(images)}")
        logits: Tensor = self.model(images)
        return logits


def conv_net(shape: Shape, classes: int) -> nn.Module:
    """A random network with what an attack may spoil: running statistics and dropout. Eval mode."""
    channels, height, width = shape
    with global_state(stream("toy", "conv net", channels, classes)):
        return nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.5), nn.Linear(6 * height * width, classes),
        ).eval()  # fmt: skip


@torch.no_grad()
def some_images(model: nn.Module, shape: Shape, n: int, wrong: int = 0) -> Batch:
    """Images with pixels at 0 and 1 among them, all classified correctly but the last `wrong`."""
    images = torch.rand(n, *shape, generator=stream("toy", "images", *shape)) * 1.4 - 0.2
    images = images.clamp(0, 1)
    logits = model(images)
    labels = logits.argmax(dim=1)
    labels[n - wrong :] = (labels[n - wrong :] + 1) % logits.shape[1]
    return Batch(images, labels)
