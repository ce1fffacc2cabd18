"""A local filter: every pixel becomes a linear mixture of its neighbours, the same all over.

    attacked = F_0 * original + sum_k c_k F_k * original

Each F is a kernel of 3x3 or 5x5 numbers and a constant, shared by all pairs; c_k are of each pair
alone. Kernels come from the main directions of those that fit each pair by itself, by ridge
regression (Hoerl & Kennard 1970).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from attacks.threats.worst import Drawn, along, between, worst
from benchmark.core.streams import Streams
from benchmark.core.threats.sets import Pairs

FEWEST = 20
"""Pairs."""
SIZES, RANKS = (3, 5), (0, 1, 2)
BETTER = 0.8
"""More numbers are taken if they leave less than this share of the residual of fewer."""
RIDGE = 1e-4
"""Per number of an image, towards leaving it as it is."""


def neighbours(images: Tensor, size: int) -> Tensor:
    """What each pixel sees, (n, channels * height * width, size^2 + 1): last a constant 1."""
    n, channels, height, width = images.shape
    edge = size // 2
    wide = pad(images.reshape(n * channels, 1, height, width), (edge,) * 4, mode="replicate")
    seen = unfold(wide, size).transpose(1, 2).reshape(n, channels * height * width, size * size)
    return torch.cat([seen, torch.ones_like(seen[..., :1])], dim=2)


def filtered(images: Tensor, kernels: Tensor) -> Tensor:
    """Images (n, ...) plus what kernels (n, size^2 + 1) make of them; may leave [0, 1]."""
    size = int((kernels.shape[1] - 1) ** 0.5)
    return images + (neighbours(images, size) @ kernels[:, :, None]).view_as(images)


@dataclass(frozen=True, eq=False)
class FittedFilter:
    """What some pairs were filtered by; kernels are differences from doing nothing."""

    mean: Tensor
    """F_0, (size^2 + 1,)."""
    basis: Tensor
    """F_k, (rank, size^2 + 1), orthonormal."""
    observed: Tensor
    """c of the pairs it was fitted on, (n, rank)."""
    tries: int

    def __str__(self) -> str:
        side = int((len(self.mean) - 1) ** 0.5)
        return f"a filter of {side}x{side} pixels, rank {len(self.basis)}"

    def nearest(self, pairs: Pairs) -> Tensor:
        """See `ThreatSet`: only c is sought, by least squares."""
        return filtered(pairs.originals, self.mean + self.numbers(pairs) @ self.basis)

    def numbers(self, pairs: Pairs) -> Tensor:
        """C of other pairs, (n, rank)."""
        seen = neighbours(pairs.originals, int((len(self.mean) - 1) ** 0.5))
        change = (pairs.attacked - pairs.originals).flatten(1) - seen @ self.mean
        return _ridge(seen @ self.basis.T, change)

    def attack_inside(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: Streams
    ) -> Tensor:
        """The worst of a few filters: as a pair's, or between two."""
        draws = between(self.observed, rng)

        def make(c: Tensor) -> Tensor:
            return filtered(images, self.mean + c @ self.basis)

        def promise(gradient: Tensor) -> Tensor:
            return along(make, draws, gradient)

        start = make(torch.zeros_like(draws[:, 0])).clamp(0, 1)
        if not len(self.basis):
            return start
        return worst(model, labels, Drawn(start, draws, make, promise), self.tries)

    def scaled(self, share: float) -> None:
        """See `ThreatSet`: what was fitted is as large as it should be."""


@dataclass(frozen=True)
class Filters:
    """Filters of few degrees of freedom."""

    tries: int
    name: str = "filter"

    def fit(self, pairs: Pairs) -> FittedFilter | None:
        """See `RepresentationSet`: the fewest numbers that no more of them are much better than."""
        if len(pairs.originals) < FEWEST:
            return None
        rest, held = pairs.parted()
        best: tuple[float, int, int] | None = None
        for size in SIZES:
            for rank in RANKS:
                made = self._of(rest, size, rank)
                left = Pairs(made.nearest(held), held.attacked).distances / held.distances
                error = float(left.median())
                if best is None or error < BETTER * best[0]:
                    best = error, size, rank
        assert best is not None
        return self._of(pairs, *best[1:])

    def _of(self, pairs: Pairs, size: int, rank: int) -> FittedFilter:
        seen = neighbours(pairs.originals, size)
        change = (pairs.attacked - pairs.originals).flatten(1)
        kernels = _ridge(seen, change)
        mean = kernels.mean(dim=0)
        if rank == 0:  # one filter for all: what fits them together, not the mean of each
            (mean,) = _ridge(seen.flatten(0, 1)[None], change.view(1, -1))
        _, _, directions = torch.linalg.svd(kernels - mean, full_matrices=False)
        basis = directions[:rank]
        made = FittedFilter(mean, basis, kernels.new_zeros(len(kernels), len(basis)), self.tries)
        return FittedFilter(mean, basis, made.numbers(pairs), self.tries)


def _ridge(seen: Tensor, change: Tensor) -> Tensor:
    """Numbers (n, k) for which seen (n, pixels, k) makes the change (n, pixels), and are small."""
    pull = RIDGE * seen.shape[1] * torch.eye(seen.shape[2], device=seen.device)
    square = seen.transpose(1, 2) @ seen + pull
    found: Tensor = torch.linalg.solve(square, seen.transpose(1, 2) @ change[:, :, None])
    return found[..., 0]
