"""Square in l2 (Andriushchenko et al. 2020): the budget moves from one square into another.

A query empties one square, and gives its share of the perturbation, and what is left of the
budget, to another one, which gets a pattern of two bumps on top of what it had.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attacks.autoattack.square_windows import bumps, corner, side_of, tiles, window
from attacks.engine.losses import margin_of
from attacks.engine.search import Search, repacked, staying
from benchmark.core.streams import Streams

BLOCK = 100
"""Queries whose random numbers are drawn together."""
TINY = 1e-12


class ActiveImages(NamedTuple):
    """Where each image still in work is: all tensors (rows, ...)."""

    rows: Tensor
    images: Tensor
    point: Tensor
    margin: Tensor
    draws: Tensor
    """(rows, BLOCK, 5 + channels) in [0, 1): two corners, upright or turned, a sign per channel."""


@torch.no_grad()
def square_l2(search: Search, rows: Tensor, rng: Streams, queries: int, eps: float) -> None:
    """Up to `queries` changes of the perturbations of `rows`, which always have the size eps."""
    images = search.images[rows]
    channels, height, width = images.shape[1:]
    point = _start(images, rng.take(rows), eps)
    margin = margin_of(search.ask(rows, point), search.labels[rows])
    state = ActiveImages(rows, images, point, margin, margin[:, None])
    for query in range(queries):
        standing = ~search.broken[state.rows]
        if not standing.any():
            return
        state = repacked(state, staying(standing))
        if query % BLOCK == 0:
            block = rng.fork(query).take(state.rows).uniform((BLOCK, 5 + channels))
            state = state._replace(draws=block.to(images.device))
        side = side_of(query, height, width, "l2")
        point = _proposed(state, state.draws[:, query % BLOCK], side, eps)
        margin = margin_of(search.ask(state.rows, point), search.labels[state.rows])
        taken = ((margin < state.margin) | (margin <= 0)).nonzero().flatten()
        state.point[taken] = point[taken]
        state.margin[taken] = margin[taken]


def _start(images: Tensor, rng: Streams, eps: float) -> Tensor:
    """A grid of bumps, each turned and with a sign per channel at random."""
    channels, height, width = images.shape[1:]
    delta = torch.zeros_like(images)
    for top, left, side in tiles(height, width):
        turned = rng.integers(2).to(images.device)
        signs = rng.signs((channels, 1, 1)).to(images.device)
        tile = bumps(side).to(images.device)[turned].view(-1, 1, side, side)
        delta[:, :, top : top + side, left : left + side] = tile * signs
    return _scaled(delta.flatten(2), images, eps)


def _scaled(delta: Tensor, images: Tensor, eps: float) -> Tensor:
    """The images with perturbations (rows, channels, pixels) scaled to the size eps."""
    size = delta.flatten(1).norm(dim=1).add_(TINY)
    moved: Tensor = (delta * (eps / size)[:, None, None]).view_as(images)
    return moved.add_(images).clamp_(0, 1)


def _proposed(state: ActiveImages, draws: Tensor, side: int, eps: float) -> Tensor:
    """The next images to ask about."""
    channels, height, width = state.images.shape[1:]
    delta = (state.point - state.images).flatten(2)
    tops, lefts = (
        corner(draws[:, (2 * i, 2 * i + 1)], n, side) for i, n in ((0, height), (1, width))
    )
    sides = torch.full_like(tops, side)
    place = window(tops, lefts, sides, side, width)[:, :, None].expand(-1, -1, channels, -1)
    filled, emptied = (delta.gather(2, place[:, i]) for i in (0, 1))
    apart = _apart(tops, lefts, side)[:, None]
    held = (filled.square().sum(dim=2) + (emptied.square() * apart).sum(dim=2))[..., None]
    left = (eps**2 - delta.square().sum(dim=(1, 2), keepdim=True)).clamp_min_(0)
    turned, signs = (draws[:, 4] > 0.5).long(), 2 * (draws[:, 5:] > 0.5) - 1
    pattern = bumps(side).to(delta.device)[turned][:, None] * signs[..., None]
    pattern = pattern + filled / (filled.norm(dim=2, keepdim=True) + TINY)
    pattern *= (left / channels + held).sqrt() / (pattern.norm(dim=2, keepdim=True) + TINY)
    delta.scatter_(2, place[:, 1], 0)
    delta.scatter_(2, place[:, 0], pattern)
    return _scaled(delta, state.images, eps)


def _apart(tops: Tensor, lefts: Tensor, side: int) -> Tensor:
    """Which pixels of the second square (rows, side * side) are not in the first: 1 or 0."""
    steps = torch.arange(side, device=tops.device)
    down, right = (
        (corners[:, 1:] + steps - corners[:, :1]).clamp(-1, side) for corners in (tops, lefts)
    )
    inside = [(step >= 0) & (step < side) for step in (down, right)]
    return 1 - (inside[0][:, :, None] & inside[1][:, None, :]).flatten(1).float()
