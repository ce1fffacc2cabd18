"""Square in linf (Andriushchenko et al. 2020): squares of +-eps, kept where they lower the margin.

Every pixel is always at one end of its range. The answer to a query is known without asking if the
square changes nothing, or if it was turned down before and the image has not changed since. With
few channels both become usual as the squares shrink to a few pixels; such queries count, but cost
no pass.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attacks.autoattack.square_windows import channel_windows, corner, phase_of, side_of
from attacks.engine.losses import margin_of
from attacks.engine.search import Search, repacked, staying
from benchmark.core.streams import Streams

LOOK, MOST = 64, 16
"""Pixels, and queries, that are looked at together for one whose answer is not known."""
FEW = 4096
"""So many different squares come again often enough to remember them; more do not."""
BLOCK = 100
"""Queries whose random numbers are drawn together."""


class Corners(NamedTuple):
    """Linf: each image still in work, with every pixel at one end of its range."""

    rows: Tensor
    point: Tensor
    """(rows, channels * height * width)."""
    ends: Tensor
    """All lowest values, then all highest ones."""
    margin: Tensor
    query: Tensor
    """Number of the next query."""
    code: Tensor
    """(rows, queries): signs of the channels, row and column of the first pixel, as one number."""
    taken: Tensor
    """How many queries were accepted."""
    tried: Tensor
    """(rows, codes): the stamp of the last query in which this square was turned down.

    None of them, (rows, 0), where there are more than FEW.
    A stamp is a number that changes with the image and with the size of the squares, never 0.
    """


class Query(NamedTuple):
    """A query per image."""

    code: Tensor
    stamp: Tensor
    place: Tensor
    """Pixels of the square in the flattened image, (rows, any)."""
    value: Tensor


class Squares(NamedTuple):
    """What all images share: (queries,) each."""

    side: Tensor
    phase: Tensor
    shape: tuple[int, int, int]


@torch.no_grad()
def square_linf(search: Search, rows: Tensor, rng: Streams, queries: int, eps: float) -> None:
    """Up to `queries` squares of +-eps for `rows` of the search, from vertical stripes."""
    state, squares = _begin(search, rows, rng, queries, eps)
    shape = search.images.shape[1:]
    while len(state.rows):
        state, asked = _next(state, squares)
        kept = state.point.gather(1, asked.place)
        state.point.scatter_(1, asked.place, asked.value)
        logits = search.ask(state.rows, state.point.view(-1, *shape))
        margin = margin_of(logits, search.labels[state.rows])
        accept = (margin < state.margin) | (margin <= 0)
        state.point.scatter_(1, asked.place, torch.where(accept[:, None], asked.value, kept))
        if state.tried.shape[1]:
            state.tried.scatter_(1, asked.code, asked.stamp)
        state = state._replace(
            margin=torch.where(accept, margin, state.margin),
            taken=state.taken + accept, query=state.query + 1,
        )  # fmt: skip
        standing = (state.query < queries) & ~search.broken[state.rows]
        if not standing.any():
            return
        state = repacked(state, staying(standing))
        state.query.clamp_max_(queries - 1)  # of those that only fill the batch up


def _begin(
    search: Search, rows: Tensor, rng: Streams, queries: int, eps: float
) -> tuple[Corners, Squares]:
    images, rng = search.images[rows], rng.take(rows)
    channels, height, width = images.shape[1:]
    low, high = (images - eps).clamp_min_(0), (images + eps).clamp_max_(1)
    stripes = rng.signs((channels, 1, width)).to(images.device)
    point = torch.where(stripes > 0, high, low)
    margin = margin_of(search.ask(rows, point), search.labels[rows])
    sides = [side_of(query, height, width, "linf") for query in range(queries)]
    phases = [phase_of(query) for query in range(queries)]
    code = _dealt(rng, torch.tensor(sides), channels, height, width).to(images.device)
    zero = torch.zeros(len(rows), dtype=torch.int64, device=images.device)
    codes = 2**channels * height * width
    tried = zero[:, None].repeat(1, codes if codes <= FEW else 0)
    state = Corners(
        rows, point.flatten(1), torch.cat([low.flatten(1), high.flatten(1)], dim=1), margin,
        query=zero, code=code, taken=zero, tried=tried,
    )  # fmt: skip
    device = images.device
    shared = Squares(
        torch.tensor(sides, device=device), torch.tensor(phases, device=device),
        (channels, height, width),
    )  # fmt: skip
    return state, shared


def _dealt(rng: Streams, sides: Tensor, channels: int, height: int, width: int) -> Tensor:
    """The squares of all queries, each as one number: (rows, queries)."""
    codes = []
    for part in torch.split(sides, BLOCK):
        down, right = rng.uniform((len(part), 2)).unbind(dim=2)
        signs = rng.integers(2**channels, (len(part),))
        top, left = corner(down, height, part), corner(right, width, part)
        codes.append((signs * height + top) * width + left)
    return torch.cat(codes, dim=1)


def _next(state: Corners, squares: Squares) -> tuple[Corners, Query]:
    """The next query of each image, past those whose answers are known."""
    most = int(squares.side[state.query].max())
    ahead = max(1, min(MOST, LOOK // most**2)) if state.tried.shape[1] else 1
    query = state.query[:, None] + torch.arange(ahead, device=state.query.device)
    query.clamp_max_(len(squares.side) - 1)
    code = state.code.gather(1, query)
    place, value = _window(state, squares, code, squares.side[query], most)
    stamp = state.taken[:, None] * 16 + squares.phase[query] + 1
    if ahead > 1:  # where none is unknown, the last one is asked for nothing
        same = (state.point[:, None].expand(-1, ahead, -1).gather(2, place) == value).all(dim=2)
        unknown = ~same & (state.tried.gather(1, code) != stamp)
        unknown[:, -1] = True
        first = unknown.int().argmax(dim=1, keepdim=True)
        query, code, stamp = (one.gather(1, first) for one in (query, code, stamp))
        chosen = first[:, :, None].expand(-1, -1, place.shape[2])
        place, value = place.gather(1, chosen), value.gather(1, chosen)
    return state._replace(query=query[:, 0]), Query(code, stamp, place[:, 0], value[:, 0])


def _window(
    state: Corners, squares: Squares, code: Tensor, side: Tensor, most: int
) -> tuple[Tensor, Tensor]:
    """Places and values of queries (rows, ahead): (rows, ahead, channels * most * most) each."""
    channels, height, width = squares.shape
    steps = channel_windows(most, channels, height, width).to(code.device)
    first, signs = code % (height * width), code // (height * width)
    place = steps.index_select(0, side.flatten()).view(*code.shape, channels, -1)
    place += first[..., None, None]
    up = signs[..., None] >> torch.arange(channels, device=code.device) & 1
    ends = place + up[..., None] * (channels * height * width)
    return place.flatten(2), state.ends.gather(1, ends.flatten(1)).view(*code.shape, -1)
