"""Patch-RS, of Sparse-RS (Croce et al. 2022, arXiv 2006.12834): a patch found without gradients.

Every proposal either paints a smaller square of the patch in one colour or moves the patch; it is
kept if it lowers the margin. Colours have every channel at 0 or 1. As the queries go by, the
smaller squares shrink as those of Square do, and the moves get shorter. Published patches start as
squares of random sizes, one over the other; these as blocks of one size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.autoattack.square_windows import phase_of
from attacks.engine.losses import margin_of
from attacks.engine.search import Search, repacked
from attacks.patch.squares import SquareAttack, cut_out, paint, within
from benchmark.core.streams import Streams
from benchmark.core.types import Goal

SHARE = 0.4
"""Share of the patch that the first squares paint."""
PERIOD = 4
"""Every so many queries the patch is moved, not painted."""
FARTHEST = 0.75
"""The first moves, in sides of the image; they shrink to nothing in the last query."""
PUBLISHED = 10_000
"""Queries that the schedule of the squares was published for; it is stretched to others."""
BLOCK = 100
"""Queries whose random numbers are drawn together."""


class Patches(NamedTuple):
    """The best patch of each image still in work: all tensors (rows, ...)."""

    rows: Tensor
    images: Tensor
    textures: Tensor
    """(rows, channels, side, side), every number 0 or 1."""
    corners: Tensor
    margin: Tensor
    draws: Tensor
    """Of the next queries, in [0, 1): a place and a colour each, (rows, BLOCK, 2 + channels)."""

    def painted(self) -> Tensor:
        """The images with their patches."""
        return paint(self.images, self.textures, self.corners)


@ATTACKS.register
@dataclass(frozen=True)
class PatchRS(SquareAttack):
    """Random search over the colours and the location of a square."""

    name: ClassVar[str] = "patch_rs"
    queries: int = 5000
    """10,000 is published."""

    @property
    def passes(self) -> int:
        """The image itself, and one forward a query."""
        return self.queries + 1

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. The image itself is always a proposal."""
        search = Search(model, images, labels, goal)
        search.ask(search.everyone(), images)
        state = self._started(search, search.remaining(), rng)
        for query in range(self.queries):
            state = repacked(state, search.leave(state.rows))
            if not len(state.rows):
                break
            if query % BLOCK == 0:
                block = rng.fork(query).take(state.rows).uniform((BLOCK, 2 + images.shape[1]))
                state = state._replace(draws=block.to(images))
            asked = self._proposed(state, query) if query else state
            margin = margin_of(search.ask(state.rows, asked.painted()), labels[state.rows])
            state = kept(state, asked._replace(margin=margin))
        return search.best

    def _started(self, search: Search, rows: Tensor, rng: Streams) -> Patches:
        """Blocks of random colours, as wide as the root of the side, at a random place."""
        images, rng = search.images[rows], rng.take(rows)
        wide = round(math.sqrt(self.side))
        blocks = rng.integers(2, (images.shape[1], *[-(-self.side // wide)] * 2)).to(images)
        textures = blocks.repeat_interleave(wide, 2).repeat_interleave(wide, 3)
        room = torch.tensor(images.shape[2:]) - self.side + 1
        corners = (rng.uniform((2,)) * room).long().to(rows.device)
        margin = images.new_full((len(rows),), torch.inf)
        textures = textures[..., : self.side, : self.side]
        return Patches(
            rows, images, textures, corners, margin, draws=images.new_empty(len(rows), 0)
        )

    def _proposed(self, state: Patches, query: int) -> Patches:
        """The next patches to ask about."""
        draws = state.draws[:, query % BLOCK]
        size = draws.new_tensor(state.images.shape[2:])
        reach = (FARTHEST * (1 - query / self.queries) * size).floor()
        if query % PERIOD == 0 and bool((reach > 0).any()):
            shift = (draws[:, :2] * (2 * reach + 1)).floor() - reach
            return state._replace(
                corners=within(state.corners + shift.long(), state.images, self.side)
            )
        share = SHARE / 2 ** phase_of(query * PUBLISHED // self.queries)
        small = max(1, int(math.sqrt(share) * self.side))
        place = (draws[:, :2] * (self.side - small + 1)).long()
        colour = (draws[:, 2:, None, None] < 0.5).to(draws).expand(-1, -1, small, small)
        same = (cut_out(state.textures, small, place) == colour).flatten(1).all(dim=1)
        colour = torch.where(same[:, None, None, None], 1 - colour, colour)
        return state._replace(textures=paint(state.textures, colour, place))


def kept(state: Patches, asked: Patches) -> Patches:
    """The proposals where they lowered the margin."""
    better = asked.margin < state.margin
    return state._replace(
        textures=torch.where(better[:, None, None, None], asked.textures, state.textures),
        corners=torch.where(better[:, None], asked.corners, state.corners),
        margin=torch.where(better, asked.margin, state.margin),
    )
