"""Sparse-RS (Croce et al. 2022, arXiv 2006.12834): random search in l0, no gradient.

`eps` pixels have colours from the corners of the colour cube. A query gives some of them back their
own colour and takes as many others, and is kept where the margin falls.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.engine.ball import BallAttack
from attacks.engine.losses import margin_of
from attacks.engine.search import Search, repacked
from benchmark.core.streams import Streams
from benchmark.core.types import Family, Goal

SHARE = 0.3
"""Of all changed pixels; the first queries move half as many (alpha_init)."""
PHASES = [0, 50, 200, 500, 1000, 2000, 4000, 6000, 8000]
"""Of 10,000 queries: after each of them, fewer pixels move at once."""
FEWER = [2, 4, 5, 6, 8, 10, 12, 15, 20]
"""The share is divided by these, phase by phase."""


def moving(query: int, queries: int, pixels: int) -> int:
    """How many of `pixels` a query moves, at least one; the schedule is stretched to `queries`.

    >>> [moving(query, 10000, 150) for query in (1, 51, 9999)]
    [22, 11, 2]
    """
    phase = bisect_right(PHASES, query * 10000 // queries) - 1
    return max(int(SHARE / FEWER[phase] * pixels), 1)


class Pixels(NamedTuple):
    """Where each image still in work is: all tensors (rows, ...)."""

    rows: Tensor
    images: Tensor
    """(rows, channels, pixels), as the point."""
    point: Tensor
    order: Tensor
    """All places, those that are changed first: int64 (rows, pixels)."""
    margin: Tensor


def draw(order: Tensor, first: int, last: int, uniform: Tensor) -> None:
    """Shuffle places, so that those from `first` on are drawn from order[:, first:last].

    `uniform` (rows, n) in [0, 1) draws n of them without putting back (Fisher & Yates); in place.
    """
    for number, value in enumerate(uniform.unbind(1), start=first):
        other = (number + value * (last - number)).long()[:, None]
        kept = order[:, number].clone()
        order[:, number] = order.gather(1, other)[:, 0]
        order.scatter_(1, other, kept[:, None])


def colours(shape: tuple[int, ...], rng: Streams, device: torch.device) -> Tensor:
    """Corners of the colour cube: 0 or 1, (rows, *shape)."""
    return rng.signs(shape).clamp_(min=0).to(device)


@ATTACKS.register
@dataclass(frozen=True)
class SparseRS(BallAttack):
    """Random search for `eps` pixels and their colours, from scores alone."""

    name: ClassVar[str] = "sparse_rs"
    family: ClassVar[Family] = "sparse"
    norm: ClassVar[str] = "l0"
    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    eps: float
    queries: int = 5000
    """As in `square`; 10,000 are published."""

    @property
    def passes(self) -> int:
        """One forward a query, and one for the image."""
        return self.queries + 1

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """Some pixels must be left to choose from."""
        pixels = shape[1] * shape[2]
        return None if self.eps < pixels else f"needs more than {self.eps:g} pixels, got {pixels}"

    @torch.no_grad()
    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. An image that leaves takes its stream along."""
        search = Search(model, images, labels, goal)
        search.ask(search.everyone(), images)
        rows, changed = search.remaining(), int(self.eps)
        if not len(rows):
            return search.best
        rng = rng.take(rows)
        state = self._begin(search, rows, changed, rng)
        for query in range(1, self.queries):
            stay = search.leave(state.rows)
            if stay is not None:
                state, rng = repacked(state, stay), rng.take(stay)
            if not len(state.rows):
                break
            state = self._asked(search, state, changed, moving(query, self.queries, changed), rng)
        return search.best

    def _begin(self, search: Search, rows: Tensor, changed: int, rng: Streams) -> Pixels:
        """Random places, random colours."""
        images = search.images[rows].flatten(2)
        order = torch.arange(images.shape[2], device=images.device).repeat(len(rows), 1)
        draw(order, 0, images.shape[2], rng.uniform((changed,)).to(images.device))
        place = order[:, None, :changed].expand(-1, images.shape[1], -1)
        new = colours((images.shape[1], changed), rng, images.device).to(images)
        point = images.scatter(2, place, new)
        margin = margin_of(
            search.ask(rows, point.view_as(search.images[rows])), search.labels[rows]
        )
        return Pixels(rows, images, point, order, margin)

    def _asked(
        self, search: Search, state: Pixels, changed: int, moved: int, rng: Streams
    ) -> Pixels:
        """Move some pixels elsewhere, and keep that where the margin falls."""
        channels, pixels = state.images.shape[1:]
        moved = min(moved, pixels - changed)
        given, taken = rng.uniform((2, moved)).to(state.order.device).unbind(1)
        draw(state.order, 0, changed, given)
        draw(state.order, changed, pixels, taken)
        old, new = (state.order[:, at : at + moved].clone() for at in (0, changed))
        back, there = (place[:, None].expand(-1, channels, -1) for place in (old, new))
        point = state.point.scatter(2, back, state.images.gather(2, back))
        point.scatter_(2, there, colours((channels, moved), rng, point.device).to(point))
        images = point.view(-1, *search.images.shape[1:])
        margin = margin_of(search.ask(state.rows, images), search.labels[state.rows])
        better = (margin < state.margin)[:, None]
        state.order[:, :moved] = torch.where(better, new, old)
        state.order[:, changed : changed + moved] = torch.where(better, old, new)
        return state._replace(
            point=torch.where(better[..., None], point, state.point),
            margin=torch.where(better[:, 0], margin, state.margin),
        )
