"""A learned threat: an encoder says what was done to pairs, and a few steps make that exact.

Warp, operator, tone curve, residual and mask at once, so it may be several of them: see
`generator`. What the encoder says of the pairs is where Adam (Kingma & Ba 2015) starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from attacks.threats.fitting import descended
from attacks.threats.generator import (
    CODE,
    PLACE,
    Described,
    Encoder,
    generated,
    left_over,
    trained,
)
from attacks.threats.worst import DRAWS, Drawn, along, between, worst
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.threats.sets import Pairs
from benchmark.core.types import Split

FEWEST = 3
"""Pairs."""
TOGETHER, HELD, RATE = 200, 60, 0.05
"""Steps of Adam, on theta and codes and on codes alone; its rate."""
STARTS, LATTICE = 8, 8
"""Codes of others that are tried for a pair, and places of a mask down and across."""
PENALTY = 1e-3
"""On the squares of codes, beside the share that is left over."""
OWN = 2000
"""Training images that an encoder learns on."""


@dataclass(frozen=True, eq=False)
class FittedThreat:
    """What was done to some pairs."""

    encoder: Encoder
    pooled: Tensor
    """What the pairs looked like together, (1, SEEN)."""
    theta: Described
    """One row."""
    observed: Tensor
    """Codes of the pairs, before they are squashed, (n, CODE)."""
    tries: int

    def __str__(self) -> str:
        return f"a learned threat of {CODE} numbers"

    def made(self, images: Tensor, raw: Tensor) -> Tensor:
        """Images (n, ...) changed as codes (n, CODE) say."""
        rows = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        return generated(images, self.theta.take(rows), raw.tanh())

    def nearest(self, pairs: Pairs) -> Tensor:
        """See `ThreatSet`: theta stays."""
        raw = self.started(pairs)
        (found,) = _adam(pairs, [raw], lambda raw: self.made(pairs.originals, raw), HELD)
        return self.made(pairs.originals, found)

    def started(self, pairs: Pairs) -> Tensor:
        """The best of the encoder's codes and of some others, then of all places: (n, CODE)."""
        own = self.encoder.codes(
            self.encoder.seen(pairs), self.pooled.expand(len(pairs.originals), -1)
        )
        apart = torch.linspace(0, len(self.observed) - 1, STARTS).long()
        raw = self._best(pairs, [own, *(one.expand_as(own) for one in self.observed[apart])])
        line = torch.linspace(1 / LATTICE - 1, 1 - 1 / LATTICE, LATTICE, device=raw.device).atanh()
        moved = []
        for place in torch.cartesian_prod(line, line):
            moved.append(raw.clone())
            moved[-1][:, -PLACE:] = place
        return self._best(pairs, [raw, *moved])

    def _best(self, pairs: Pairs, several: list[Tensor]) -> Tensor:
        left = torch.stack([left_over(self.made(pairs.originals, raw), pairs) for raw in several])
        return torch.stack(several)[left.argmin(dim=0), torch.arange(left.shape[1])]

    def attack_inside(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: Streams
    ) -> Tensor:
        """The worst of a few codes: a pair's or between two, its mask anywhere masks lay."""
        middle = self.observed.mean(dim=0)
        draws = between(self.observed, rng)
        low, high = (one.tanh() for one in torch.aminmax(self.observed[:, -PLACE:], dim=0))
        place = low + (high - low) * rng.uniform((DRAWS, PLACE)).to(draws)
        draws = torch.cat([draws[..., :-PLACE], place.clamp(-0.999, 0.999).atanh()], dim=2) - middle

        def make(raw: Tensor) -> Tensor:
            return self.made(images, middle + raw)

        def promise(gradient: Tensor) -> Tensor:
            level = torch.cat([draws[..., :-PLACE], 0 * draws[..., -PLACE:]], dim=2)
            return along(make, level, gradient)  # a slope says nothing about other places

        start = make(torch.zeros_like(draws[:, 0])).clamp(0, 1)
        return worst(model, labels, Drawn(start, draws, make, promise), self.tries)

    def scaled(self, share: float) -> None:
        """See `ThreatSet`: what was fitted is as large as it should be."""


@lru_cache(maxsize=1)
def encoder_of(own: Split) -> Encoder:
    """Trained on procedural families of images, once in a process."""
    images = own.images(slice(OWN))
    return trained(images, own.shape, stream("learned threat", own.hash))


@dataclass(frozen=True, eq=False)
class Learned:
    """Threats of the kind that an encoder has learned of."""

    tries: int
    own: Split | None
    """Training images that it learns on; without them nothing can be fitted."""
    name: str = "learned"

    def fit(self, pairs: Pairs) -> FittedThreat | None:
        """See `RepresentationSet`."""
        if not self.own or len(pairs.originals) < FEWEST:
            return None
        return fitted(encoder_of(self.own).to(pairs.originals.device), pairs, self.tries)


def fitted(encoder: Encoder, pairs: Pairs, tries: int) -> FittedThreat | None:
    """What an encoder says of pairs, made exact; None if that does not converge."""
    seen = encoder.seen(pairs)
    pooled = encoder.pool(seen.mean(dim=0, keepdim=True))
    theta = encoder.described(pooled)
    raw = encoder.codes(seen, pooled.expand(len(seen), -1))
    begun = FittedThreat(encoder, pooled, theta, raw, tries)
    rows = torch.zeros(len(seen), dtype=torch.int64, device=raw.device)

    def made(raw: Tensor, *theta: Tensor) -> Tensor:
        return generated(pairs.originals, Described(*theta).take(rows), raw.tanh())

    raw, *parts = _adam(pairs, [begun.started(pairs), *theta], made, TOGETHER)
    finite = all(bool(one.isfinite().all()) for one in (raw, *parts))
    found = FittedThreat(encoder, pooled, Described(*parts), raw, tries)
    return found if finite else None


def _adam(
    pairs: Pairs, begin: Sequence[Tensor], made: Callable[..., Tensor], steps: int
) -> list[Tensor]:
    """Numbers, codes first, that leave little of the pairs over."""

    def loss(raw: Tensor, *theta: Tensor) -> Tensor:
        left = left_over(made(raw, *theta), pairs).clamp(max=4).sum()
        return left + PENALTY * raw.square().sum()

    return descended(begin, [RATE] * len(begin), loss, steps)
