"""What every attack of ours keeps while it searches: the worst image so far, and who is broken."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.core.types import Goal


class Search:
    """The strongest proposal per image so far.

    A misclassified proposal beats a correctly classified one; among equals the higher loss wins.
    `remaining(goal)` is who still needs work: for a verdict, only the images not yet broken.
    """

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels
        self.best = images.clone()
        self.loss = torch.full((len(images),), -torch.inf, device=images.device)
        self.broken = torch.zeros(len(images), dtype=torch.bool, device=images.device)

    def remaining(self, goal: Goal) -> Tensor:
        """Indices (int64) of the images to go on with."""
        wanted = ~self.broken if goal == "verdict" else torch.ones_like(self.broken)
        return wanted.nonzero().flatten()

    def note(self, active: Tensor, proposals: Tensor, loss: Tensor, wrong: Tensor) -> None:
        """Take proposals (len(active), ...) for the images `active` where they are stronger."""
        better = (wrong & ~self.broken[active]) | (
            (wrong == self.broken[active]) & (loss > self.loss[active])
        )
        where = active[better]
        self.best[where], self.loss[where] = proposals[better], loss[better]
        self.broken[where] |= wrong[better]

    @torch.no_grad()
    def try_all(self, model: nn.Module, active: Tensor, proposals: Tensor) -> None:
        """Score proposals with one forward pass and note them."""
        logits = model(proposals)
        labels = self.labels[active]
        loss = cross_entropy(logits, labels, reduction="none")
        self.note(active, proposals, loss, logits.argmax(dim=1) != labels)
