"""Sparse PGD in l0 (Zhong et al. 2024, arXiv 2405.05075), with scouts and a memory.

A perturbation is a colour for every pixel, and a score: the `eps` pixels of the highest scores are
changed. Both climb the loss. A network that ignores small changes has no gradient at a pixel that
is left as it is, so nothing says which others to take. Therefore, unlike in the paper, the gradient
is taken where random other pixels, the scouts, have their colours as well. And where the search
stands still, it mostly goes on from the best painting so far with one pixel exchanged; the paper
always begins anew, and loses what it has found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.engine.ball import BallAttack
from attacks.engine.losses import margin_of
from attacks.engine.search import AttackLoss, Search, own_loss, repacked
from benchmark.core.streams import Streams
from benchmark.core.types import Family, Goal

SCOUTS = 0.1
"""Share of the pixels that a gradient sees besides those that are changed."""
STEP = 0.25
"""Of a colour (alpha), and of the scores, times the root of the number of pixels (beta)."""
PATIENCE = 3
"""Where the same pixels are chosen so many times in a row, the scores are drawn anew."""
AGAIN = 0.8
"""How often all of the best pixels but one are kept then."""
FLAT = 2e-10
"""A gradient this small moves no score."""


class Painting(NamedTuple):
    """What is chosen for each image still in work: all tensors (rows, ...)."""

    rows: Tensor
    images: Tensor
    """(rows, channels, pixels), as the colours."""
    colour: Tensor
    score: Tensor
    """(rows, pixels)."""
    chosen: Tensor
    """Which pixels are changed: bool (rows, pixels)."""
    same: Tensor
    """How many times in a row these were chosen."""
    behind: Tensor
    """The most that the own class was `lag` behind, (rows,), and then:"""
    best_colour: Tensor
    best_chosen: Tensor


def highest(score: Tensor, count: int) -> Tensor:
    """The `count` pixels of the highest scores: bool (rows, pixels)."""
    best = score.topk(min(count, score.shape[1]), dim=1).indices
    return torch.zeros_like(score, dtype=torch.bool).scatter_(1, best, True)


def lag(logits: Tensor, labels: Tensor) -> Tensor:
    """How far the own class is behind the strongest other one, (rows,)."""
    return -margin_of(logits, labels)


def climbed(state: Painting, gradient: Tensor, seen: Tensor | None) -> Painting:
    """Colours a step along the sign of the gradient, scores along what taking a pixel would gain.

    `gradient` (rows, channels, pixels). With `seen` (rows, pixels), colours move there alone (the
    paper's projected gradient), else everywhere (unprojected).
    """
    slope = torch.sigmoid(state.score) * torch.sigmoid(-state.score)
    gain = (gradient * (state.colour - state.images)).sum(dim=1) * slope
    size = gain.norm(dim=1, keepdim=True)
    step = STEP * gain.shape[1] ** 0.5 * gain / size.clamp_min(FLAT) * (size > FLAT)
    move = gradient if seen is None else gradient * seen[:, None]
    colour = (state.colour + STEP * move.sign()).clamp_(0, 1)
    return state._replace(colour=colour, score=state.score + step)


def drawn_anew(best: Tensor, rng: Streams) -> tuple[Tensor, Tensor]:
    """New scores (rows, pixels), and the pixels that are kept, bool (rows, pixels).

    Mostly all of the `best` pixels but one are kept: see `AGAIN`.
    """
    drawn = rng.uniform((best.shape[1],)).to(best.device)
    kept = best.scatter(1, drawn.where(best, torch.inf).argmin(dim=1, keepdim=True), False)
    kept &= (rng.uniform((1,)) < AGAIN).to(best.device)
    fresh = rng.normal((best.shape[1],)).to(best.device)
    return torch.where(kept, fresh.amax(dim=1, keepdim=True) + 1, fresh), kept


@ATTACKS.register
@dataclass(frozen=True)
class SparsePGD(BallAttack):
    """Sparse PGD: `eps` pixels and their colours, chosen by gradients."""

    name: ClassVar[str] = "pgd_l0"
    version: ClassVar[int] = 2
    family: ClassVar[Family] = "sparse"
    norm: ClassVar[str] = "l0"
    white_box: ClassVar[bool] = True
    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    eps: float
    steps: int = 100
    """Of a run; 10,000 are published."""
    restarts: int = 1
    """Of two runs: unprojected on the cross-entropy, projected on the margin."""

    @property
    def passes(self) -> int:
        """The image; for each run its start, and two forwards and a backward a step."""
        return 1 + 2 * self.restarts * (3 * self.steps + 1)

    @torch.no_grad()
    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`."""
        search = Search(model, images, labels, goal)
        search.ask(search.everyone(), images)
        for restart in range(self.restarts):
            self._run(search, own_loss, False, rng.fork(restart, "unprojected"))
            self._run(search, lag, True, rng.fork(restart, "projected"))
        return search.best

    def _run(self, search: Search, loss: AttackLoss, projected: bool, rng: Streams) -> None:
        """`steps` steps from random colours and scores. An image takes its stream along."""
        rows = search.remaining()
        rng = rng.take(rows)
        state = self._begin(search, rows, rng)
        state = self._asked(search, state)
        for _ in range(self.steps):
            stay = search.leave(state.rows)
            if stay is not None:
                state, rng = repacked(state, stay), rng.take(stay)
            if not len(state.rows):
                return
            scouts = rng.uniform((state.score.shape[1],)).to(state.score.device) < SCOUTS
            seen = state.chosen | scouts
            found = search.slope(state.rows, self._painted(search, state, seen), loss)
            gradient = found.gradient.flatten(2)
            state = climbed(state, gradient, seen if projected else None)
            state = self._asked(search, self._chosen(state, rng))

    def _begin(self, search: Search, rows: Tensor, rng: Streams) -> Painting:
        """Uniform changes of all colours, moved into the box; normal scores."""
        images = search.images[rows].flatten(2)
        colour = images + 2 * rng.uniform(tuple(images.shape[1:])).to(images) - 1
        score = rng.normal((images.shape[2],)).to(images)
        colour, chosen = colour.clamp_(0, 1), highest(score, int(self.eps))
        none = torch.full_like(score[:, 0], -torch.inf)
        return Painting(
            rows, images, colour, score, chosen, torch.zeros_like(rows), none, colour, chosen
        )

    def _chosen(self, state: Painting, rng: Streams) -> Painting:
        """Choose pixels by their scores; those that stay the same too long: see `PATIENCE`."""
        score, chosen = state.score, highest(state.score, int(self.eps))
        same = torch.where((chosen == state.chosen).all(dim=1), state.same + 1, 0)
        stuck = (same >= PATIENCE)[:, None]
        fresh, kept = drawn_anew(state.best_chosen, rng)
        score = torch.where(stuck, fresh, score)
        colour = torch.where((stuck & kept)[:, None], state.best_colour, state.colour)
        return state._replace(
            colour=colour, score=score, chosen=highest(score, int(self.eps)),
            same=same.masked_fill(stuck[:, 0], 0),
        )  # fmt: skip

    def _painted(self, search: Search, state: Painting, pixels: Tensor) -> Tensor:
        """The images with these pixels (rows, pixels) in their colours."""
        painted = torch.where(pixels[:, None], state.colour, state.images)
        return painted.view(-1, *search.images.shape[1:])

    def _asked(self, search: Search, state: Painting) -> Painting:
        """Ask about the painting, and keep it where none was better."""
        logits = search.ask(state.rows, self._painted(search, state, state.chosen))
        behind = lag(logits, search.labels[state.rows])
        better = behind > state.behind
        return state._replace(
            behind=torch.where(better, behind, state.behind),
            best_colour=torch.where(better[:, None, None], state.colour, state.best_colour),
            best_chosen=torch.where(better[:, None], state.chosen, state.best_chosen),
        )
