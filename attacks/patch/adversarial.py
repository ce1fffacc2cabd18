"""An adversarial patch (Brown et al. 2017, arXiv 1712.09665), made for each image and placed.

The location is searched as in Rao et al. 2020 (arXiv 2005.02313): at every step the patch goes on
by a pixel in a random direction if that raises the loss. Theirs starts at a random place; this one
at the best of a grid.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.engine.search import Search, own_loss, repacked
from attacks.patch.squares import SquareAttack, at_step, cut_out, does_not_reach, paint, within
from benchmark.core.streams import Streams
from benchmark.core.types import Goal, Scales

DIRECTIONS = torch.tensor([[0, 1], [1, 0], [0, -1], [-1, 0]])
"""Rows and columns."""


class Patches(NamedTuple):
    """The patch of each image still in work: all tensors (rows, ...)."""

    rows: Tensor
    images: Tensor
    textures: Tensor
    """(rows, channels, side, side) in [0, 1]."""
    corners: Tensor
    moves: Tensor
    """Where each step tries to go, int64 (rows, steps, 2)."""

    def painted(self, corners: Tensor) -> Tensor:
        """The images with their patches at these corners."""
        return paint(self.images, self.textures, corners)


@ATTACKS.register
@dataclass(frozen=True)
class AdversarialPatch(SquareAttack):
    """Ascent by the sign of the gradient over the pixels of a square that moves along."""

    name: ClassVar[str] = "adversarial_patch"
    low_and_high: ClassVar[Scales] = {"side": (2 / 3, 1.5), "places": (1.5, 1.0)}
    white_box: ClassVar[bool] = True
    stride: int = 1
    places: int = 7
    """Per direction, where each texture is tried first; they have to reach the far edge."""
    steps: int = 20
    step_size: float | None = None
    """2.5 / steps if not given, as in `pgd_linf` over the whole range of a pixel."""
    restarts: int = 4
    """The first from a black square, so that nothing stands which `occlusion` breaks at these
    places; the others from random textures."""

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """The square has to fit, and its places to reach the far edge."""
        return super().cannot_run(shape, classes) or does_not_reach(
            self.side, self.stride, self.places, shape
        )

    @property
    def passes(self) -> int:
        """The image; a forward a place; for each step two and one backward; the last iterate."""
        return 1 + self.restarts * (self.places**2 + 3 * self.steps + 1)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. The image itself is always a proposal."""
        search = Search(model, images, labels, goal)
        search.ask(search.everyone(), images)
        for restart in range(self.restarts):
            rows = search.remaining()
            if not len(rows):
                break
            self._climb(search, self._started(search, rows, restart, rng.fork(restart).take(rows)))
        return search.best

    def _started(self, search: Search, rows: Tensor, restart: int, rng: Streams) -> Patches:
        """Textures where on the grid each of them harms most, and random moves."""
        images = search.images[rows]
        textures = rng.uniform((images.shape[1], self.side, self.side)).to(images)
        textures = textures if restart else torch.zeros_like(textures)
        grid = torch.tensor(self._grid(*images.shape[2:]), device=rows.device)
        losses = [
            self._loss(search, rows, paint(images, textures, place.expand(len(rows), 2)))
            for place in grid
        ]
        corners = grid[torch.stack(losses).argmax(dim=0)]
        moves = DIRECTIONS[rng.integers(len(DIRECTIONS), (self.steps,))].to(rows.device)
        return Patches(rows, images, textures, corners, moves)

    def _grid(self, height: int, width: int) -> list[tuple[int, int]]:
        tops, lefts = (
            sorted({at_step(step, self.stride, self.side, size) for step in range(self.places)})
            for size in (height, width)
        )
        return [*itertools.product(tops, lefts)]

    def _loss(self, search: Search, rows: Tensor, proposals: Tensor) -> Tensor:
        return own_loss(search.ask(rows, proposals), search.labels[rows])

    def _climb(self, search: Search, state: Patches) -> None:
        """All steps of one restart."""
        for step in range(self.steps):
            state = repacked(state, search.leave(state.rows))
            if not len(state.rows):
                return
            state = self._stepped(search, state, step)
        search.ask(state.rows, state.painted(state.corners))

    def _stepped(self, search: Search, state: Patches, step: int) -> Patches:
        """The patches after a step uphill, a pixel further where that alone raised the loss."""
        proposals = state.painted(state.corners)
        found = search.slope(state.rows, proposals, own_loss)
        search.note(state.rows, proposals, found.logits, lambda *_: found.loss)
        further = within(state.corners + state.moves[:, step], state.images, self.side)
        better = self._loss(search, state.rows, state.painted(further)) > found.loss
        uphill = cut_out(found.gradient, self.side, state.corners).sign()
        return state._replace(
            textures=(state.textures + (self.step_size or 2.5 / self.steps) * uphill).clamp(0, 1),
            corners=torch.where(better[:, None], further, state.corners),
        )
