"""A smooth warp: every pixel shows what stands elsewhere, and few numbers say where.

    attacked = original o (id + sum_k c_k B_k)

The fields B_k, bicubic on a lattice of 4x4 places, are shared by all pairs; the numbers c_k are of
each pair alone. Both are fitted by Adam (Kingma & Ba 2015), from what each pair says by itself:
the main directions of fields fitted to it alone (Eckart & Young 1936).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from attacks.engine.resampling import LATTICE, bicubic_field, own_places, seen_at
from attacks.threats.worst import Drawn, along, between, worst
from benchmark.core.streams import Streams
from benchmark.core.threats.sets import Pairs

NUMBERS = 2 * LATTICE * LATTICE
FEWEST = 5
"""Pairs."""
RANKS = (1, 2, 4, 8)
BETTER = 0.8
"""A higher rank is taken if it leaves less than this share of the residual of a lower one."""
ALONE, TOGETHER, HELD = 40, 200, 60
"""Steps of Adam: of each pair by itself, of all together, and of pairs that are held out."""
STARTS = 8
RATE = 0.03
"""Of Adam, on moves in half sides of the image."""


def warped(images: Tensor, moves: Tensor) -> Tensor:
    """Images (n, ...) seen through the moves (n, NUMBERS) of a lattice; outside it is black."""
    lattice = moves.view(-1, 2, LATTICE, LATTICE)
    field = bicubic_field(lattice, images.shape[2], images.shape[3])
    return seen_at(images, own_places(images).to(field) + field)


@dataclass(frozen=True, eq=False)
class FittedWarp:
    """What some pairs were bent by."""

    basis: Tensor
    """B, (rank, NUMBERS)."""
    observed: Tensor
    """c of the pairs it was fitted on, (n, rank)."""
    tries: int

    def __str__(self) -> str:
        return f"a warp of rank {len(self.basis)}"

    def nearest(self, pairs: Pairs) -> Tensor:
        """See `ThreatSet`: only c is sought."""
        return warped(pairs.originals, self.numbers(pairs) @ self.basis)

    def numbers(self, pairs: Pairs) -> Tensor:
        """C of other pairs, (n, rank): the best of a few that were observed, then Adam."""
        apart = torch.linspace(0, len(self.observed) - 1, STARTS).long()
        starts = [torch.zeros_like(self.observed[0]), *self.observed[apart]]
        errors = torch.stack([
            _errors(pairs, (one @ self.basis).expand(len(pairs.originals), -1)) for one in starts
        ])  # fmt: skip
        begin = torch.stack(starts)[errors.argmin(dim=0)]
        (found,) = _adam(pairs, [begin], lambda c: c @ self.basis, HELD)
        return found

    def attack_inside(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: Streams
    ) -> Tensor:
        """The worst of a few warps: as a pair was bent, or between two."""
        draws = between(self.observed, rng)

        def make(c: Tensor) -> Tensor:
            return warped(images, c @ self.basis)

        def promise(gradient: Tensor) -> Tensor:
            return along(make, draws, gradient)

        return worst(model, labels, Drawn(images, draws, make, promise), self.tries)

    def scaled(self, share: float) -> None:
        """See `ThreatSet`: what was fitted is as large as it should be."""


@dataclass(frozen=True)
class Warps:
    """Smooth warps of few degrees of freedom."""

    tries: int
    name: str = "warp"

    def fit(self, pairs: Pairs) -> FittedWarp | None:
        """See `RepresentationSet`: the lowest rank that no higher one is much better than."""
        if len(pairs.originals) < FEWEST:
            return None
        rest, held = pairs.parted()
        alone = _alone(pairs)
        if not alone.isfinite().all():
            return None
        best: tuple[float, int] | None = None
        for rank in RANKS:
            made = self._of_rank(rest, alone[: len(rest.originals)], rank)
            error = float(_errors(held, made.numbers(held) @ made.basis).median())
            if best is None or error < BETTER * best[0]:
                best = error, rank
        assert best is not None
        found = self._of_rank(pairs, alone, best[1])
        finite = bool(found.basis.isfinite().all() and found.observed.isfinite().all())
        return found if finite else None

    def _of_rank(self, pairs: Pairs, alone: Tensor, rank: int) -> FittedWarp:
        """Bases and numbers of one rank, from the main directions of each pair's own moves."""
        _, sizes, directions = torch.linalg.svd(alone, full_matrices=False)
        rank = min(rank, len(sizes))
        scale = sizes[:rank].clamp_min(1e-6) / len(alone) ** 0.5  # c has size 1 in the mean
        basis = directions[:rank] * scale[:, None]
        begin = [alone @ directions[:rank].T / scale, basis]
        numbers, basis = _adam(pairs, begin, lambda c, b: c @ b, TOGETHER)
        return FittedWarp(basis, numbers, self.tries)


def _alone(pairs: Pairs) -> Tensor:
    """The moves (n, NUMBERS) of each pair by itself, which need not be its only ones."""
    still = pairs.originals.new_zeros(len(pairs.originals), NUMBERS)
    (found,) = _adam(pairs, [still], lambda moves: moves, ALONE)
    return found


def _errors(pairs: Pairs, moves: Tensor) -> Tensor:
    """Share of what was changed that moves (n, NUMBERS) do not explain, (n,)."""
    seen = Pairs(warped(pairs.originals, moves), pairs.attacked)
    return seen.distances / pairs.distances


def _adam(
    pairs: Pairs, begin: Sequence[Tensor], moves: Callable[..., Tensor], steps: int
) -> list[Tensor]:
    """Numbers that make what the moves leave unexplained small; the rates fall to nothing."""
    rates = [max(RATE, 3 * RATE * float(one.abs().mean())) for one in begin]
    with torch.enable_grad():
        numbers = [one.clone().requires_grad_() for one in begin]
        groups = [{"params": [one], "lr": rate} for one, rate in zip(numbers, rates, strict=True)]
        optimizer = torch.optim.Adam(groups)
        for step in range(steps):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - step / steps)
            optimizer.zero_grad()
            _errors(pairs, moves(*numbers)).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return [one.detach() for one in numbers]
