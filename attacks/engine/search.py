"""The engine under every attack of ours: who is still in work, and the worst image so far.

For a verdict, an image that is broken leaves the batch: its verdict cannot change. Leaving means
copying what stays, and a network is set up anew for each batch size it meets, so images leave in
groups, when the rest fits the next smaller of a few fixed sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.core.model_access import float32_model, select_rows
from benchmark.core.types import Goal

AttackLoss = Callable[[Tensor, Tensor], Tensor]
"""What an attack climbs: logits (rows, classes) and labels in, (rows,) out."""


def own_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy per image, (rows,)."""
    return cross_entropy(logits, labels, reduction="none")


def bucket(count: int) -> int:
    """The batch size for `count` images: 0 to 8, then four sizes to each doubling.

    >>> [bucket(count) for count in (0, 7, 9, 11, 397)]
    [0, 7, 10, 12, 448]
    """
    step = 1 << max(0, (count - 1).bit_length() - 3)
    return -(-count // step) * step


def staying(standing: Tensor) -> Tensor | None:
    """Which places of a batch to keep, given who still stands, bool (rows,); None: all of them.

    Some others may stay to fill the batch up to its size: it costs less than it saves.
    """
    size = bucket(int(standing.sum()))
    if size >= len(standing):
        return None
    order = standing.int().sort(descending=True, stable=True).indices[:size]
    return order.sort().values


State = TypeVar("State", bound=tuple[Tensor, ...])


def repacked(state: State, stay: Tensor | None) -> State:
    """What an attack remembers of its rows, a NamedTuple of tensors (rows, ...), cut to `stay`."""
    return state if stay is None else state._make(part[stay] for part in state)  # type: ignore[attr-defined]


def overwrite(kept: Tensor, new: Tensor, where: Tensor) -> None:
    """Write `new` into `kept` (rows, ...) in the rows `where`, bool (rows,).

    On a CPU in half the time that indexing takes.
    """
    rows = where.nonzero().flatten()
    kept.index_copy_(0, rows, new.index_select(0, rows))


class Slope(NamedTuple):
    """What a forward and a backward pass tell."""

    logits: Tensor
    loss: Tensor
    gradient: Tensor


class Search:
    """The strongest proposal per image so far, and the rows (int64) still in work.

    A misclassified proposal beats a correctly classified one; among equals the higher loss wins.
    Where the model answers in low precision, nothing counts as misclassified before float32 says
    so too.
    """

    def __init__(self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal) -> None:
        self.model, self.images, self.labels, self.goal = model, images, labels, goal
        self.best = images.clone()
        self.loss = torch.full((len(images),), -torch.inf, device=images.device)
        self.broken = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def remaining(self) -> Tensor:
        """The rows to start (again) with: for a verdict those not yet broken, else all."""
        return self.standing() if self.goal == "verdict" else self.everyone()

    def everyone(self) -> Tensor:
        """All rows."""
        return torch.arange(len(self.images), device=self.images.device)

    def standing(self) -> Tensor:
        """The rows not yet broken, whatever the goal."""
        return (~self.broken).nonzero().flatten()

    def leave(self, rows: Tensor) -> Tensor | None:
        """Which places of `rows` (int64) stay in work; None: all, nothing has to be copied."""
        return None if self.goal == "examples" else staying(~self.broken[rows])

    def ask(
        self,
        rows: Tensor,
        proposals: Tensor,
        loss: AttackLoss = own_loss,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """One forward pass: note the proposals (rows, ...) for their rows; returns the logits.

        Proposals that are not `allowed`, bool (rows,), are only asked about.
        """
        with torch.no_grad():
            logits: Tensor = select_rows(self.model, rows)(proposals)
        self.note(rows, proposals, logits, loss, allowed)
        return logits

    def climb(self, rows: Tensor, proposals: Tensor, loss: AttackLoss) -> Tensor:
        """One forward and one backward pass: note the proposals; returns the loss's gradient."""
        found = self.slope(rows, proposals, loss)
        self.note(rows, proposals.detach(), found.logits, lambda *_: found.loss)
        return found.gradient

    def slope(self, rows: Tensor, proposals: Tensor, loss: AttackLoss) -> Slope:
        """One forward and one backward pass; nothing is noted."""
        with torch.enable_grad():
            proposals = proposals.detach().requires_grad_()
            logits = select_rows(self.model, rows)(proposals)
            losses = loss(logits, self.labels[rows])
            (gradient,) = torch.autograd.grad(losses.sum(), proposals)
        return Slope(logits.detach(), losses.detach(), gradient)

    @torch.no_grad()
    def note(
        self, rows: Tensor, proposals: Tensor, logits: Tensor, loss: AttackLoss = own_loss,
        allowed: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Take the proposals where they are stronger than what there is.

        For a verdict only what breaks an image matters: everything else is left as it was, and
        mostly there is nothing more to look at, not even the loss.
        """
        labels, known = self.labels[rows], self.broken[rows]
        wrong = logits.argmax(dim=1) != labels
        if allowed is not None:
            wrong &= allowed
        new = wrong & ~known
        if self.goal == "verdict" and not new.any():
            return
        losses = loss(logits, labels)
        if self.goal == "verdict":
            better = wrong = self._confirmed(rows, proposals, new)
        else:
            higher = losses > self.loss[rows]
            if allowed is not None:
                higher &= allowed
            wrong = self._confirmed(rows, proposals, wrong & (new | higher))
            better = (wrong & ~known) | ((wrong == known) & higher)
        self._take(rows, better, proposals, losses.float(), wrong)

    def _take(
        self, rows: Tensor, better: Tensor, proposals: Tensor, losses: Tensor, wrong: Tensor
    ) -> None:
        """Note what is `better`, bool (rows,); where all rows are in work, none is looked up."""
        if len(rows) == len(self.images):
            chosen = better.view(-1, *[1] * (proposals.dim() - 1))
            self.best = torch.where(chosen, proposals, self.best)
            self.loss = torch.where(better, losses, self.loss)
            self.broken = self.broken | (better & wrong)
            return
        places = better.nonzero().flatten()
        if not len(places):
            return
        taken = rows[places]
        self.best[taken] = proposals[places]
        self.loss[taken] = losses[places]
        self.broken[taken] |= wrong[places]

    @torch.no_grad()
    def _confirmed(self, rows: Tensor, proposals: Tensor, wrong: Tensor) -> Tensor:
        """`wrong` (rows,), but only where the model in float32 is wrong too."""
        judge = float32_model(self.model)
        if judge is self.model:
            return wrong
        claimed = wrong.nonzero().flatten()
        if len(claimed):
            asked = rows[claimed]
            logits = select_rows(judge, asked)(proposals[claimed])
            wrong = wrong.clone()
            wrong[claimed] = logits.argmax(dim=1) != self.labels[asked]
        return wrong
