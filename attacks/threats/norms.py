"""Where nothing else fits: balls about the image, of the sizes that were observed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.engine.geometry import ascent, project, random_start
from attacks.engine.search import Search, own_loss
from benchmark.core.streams import Streams
from benchmark.core.threats.sets import Pairs
from benchmark.core.types import distance

NORMS = ("linf", "l1", "l2")
"""In the order of projection: what comes later makes no earlier norm larger."""


@dataclass(frozen=True)
class FittedNorms:
    """All that is in the ball of each norm at once."""

    sizes: Mapping[str, float]
    steps: int
    share: float = 1.0
    """Of the sizes that were observed."""

    def __str__(self) -> str:
        sizes = ", ".join(f"{norm} {self.sizes[norm]:.3g}" for norm in ("linf", "l2", "l1"))
        return sizes if self.share == 1 else f"{sizes}, {self.share:g} of what was seen"

    def inside(self, delta: Tensor, images: Tensor) -> Tensor:
        """Perturbations (n, ...) in all balls, and the images in [0, 1]."""
        for norm in NORMS:
            delta = project(delta, images, self.sizes[norm], norm)
        return delta

    def nearest(self, pairs: Pairs) -> Tensor:
        """See `ThreatSet`: a point that projections lead to, not quite the nearest."""
        return pairs.originals + self.inside(pairs.attacked - pairs.originals, pairs.originals)

    def attack_inside(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: Streams
    ) -> Tensor:
        """A few steps of steepest ascent in l2, each 2.5 / steps of the ball, all noted."""
        search = Search(model, images, labels, "examples")
        rows, size = search.everyone(), self.sizes["l2"]
        delta = self.inside(random_start(images, size, "l2", rng), images)
        for _ in range(self.steps):
            gradient = search.climb(rows, (images + delta).clamp(0, 1), own_loss)
            step = 2.5 / self.steps * size * ascent(gradient, images + delta, "l2")
            delta = self.inside(delta + step, images)
        search.ask(rows, (images + delta).clamp(0, 1))
        return search.best

    def scaled(self, share: float) -> FittedNorms:
        """See `ThreatSet`."""
        sizes = {norm: share * size for norm, size in self.sizes.items()}
        return FittedNorms(sizes, self.steps, share * self.share)


@dataclass(frozen=True)
class Norms:
    """The intersection of balls whose sizes are quantiles of the observed linf, l2 and l1."""

    steps: int
    quantile: float
    name: str = "norms"

    def fit(self, pairs: Pairs) -> FittedNorms | None:
        """See `RepresentationSet`."""
        sizes = {
            norm: float(torch.quantile(distance(*pairs, norm), self.quantile)) for norm in NORMS
        }
        return FittedNorms(sizes, self.steps) if all(sizes.values()) else None
