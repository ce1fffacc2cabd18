"""What an attack on decisions may know: whether a query is wrong, and its nearest wrong one."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.engine.geometry import project
from attacks.engine.search import Search
from benchmark.core.model_access import select_rows
from benchmark.core.types import NormBall, distance

AT_ONCE = 500
"""Queries in one pass, or as many as there are images if these are more."""


class Decisions:
    """The queries each image has left, and its nearest wrong query, inside the ball or not.

    What is wrong inside the ball is noted in the search. For a verdict an image is then done, and
    no more is asked about it.
    """

    def __init__(self, search: Search, threat: NormBall, queries: int) -> None:
        self.search, self.threat = search, threat
        self.images = search.images
        self.left = torch.full((len(self.images),), queries, device=self.images.device)
        self.point = self.images.clone()
        self.size = torch.full((len(self.images),), torch.inf, device=self.images.device)
        """Distance of `point`, float32 (images,); infinite where nothing wrong is known."""

    def working(self, rows: Tensor) -> Tensor:
        """Which of `rows` (int64) may still ask, bool (rows,)."""
        working = self.left[rows] > 0
        return working & ~self.search.broken[rows] if self.search.goal == "verdict" else working

    def wrong(self, rows: Tensor, proposals: Tensor) -> Tensor:
        """Ask about proposals (rows, ...): bool (rows,), False for those that may not ask."""
        return self.ask(rows, proposals[:, None])[:, 0] > 0

    def ask(self, rows: Tensor, proposals: Tensor, most: Tensor | None = None) -> Tensor:
        """Ask about proposals (rows, any, ...), and at most the first `most` (rows,) of a row.

        Returns float32 (rows, any): 1 where the class is wrong, -1 where it is right, 0 where
        nothing was asked.
        """
        many = proposals.shape[1]
        most = torch.where(self.working(rows), self.left[rows], 0).clamp_max(
            many if most is None else most
        )
        asked = torch.arange(many, device=rows.device) < most[:, None]
        answers = torch.zeros(asked.shape, device=rows.device)
        places = asked.flatten().nonzero().flatten()
        if not len(places):
            return answers
        self.left[rows] -= asked.sum(dim=1)
        owners, flat = rows[places // many], proposals.flatten(0, 1)[places]
        logits = self._logits(owners, flat)
        wrong = logits.argmax(dim=1) != self.search.labels[owners]
        answers.view(-1)[places] = wrong.float() * 2 - 1
        self._note(owners[wrong], flat[wrong], logits[wrong])
        return answers

    def _logits(self, rows: Tensor, proposals: Tensor) -> Tensor:
        size = max(AT_ONCE, len(self.images))
        parts = zip(torch.split(rows, size), torch.split(proposals, size), strict=True)
        model = self.search.model
        return torch.cat([select_rows(model, rows)(images) for rows, images in parts])

    def _note(self, rows: Tensor, proposals: Tensor, logits: Tensor) -> None:
        """Keep the nearest of the wrong proposals (rows, ...), where `rows` may repeat."""
        sizes = distance(self.images[rows], proposals, self.threat.norm).float()
        nearest = self.size.scatter_reduce(0, rows, sizes, "amin")
        closer = ((sizes == nearest[rows]) & (sizes < self.size[rows])).nonzero().flatten()
        if not len(closer):
            return
        closer = closer[_first(rows[closer])]
        rows, proposals, sizes = rows[closer], proposals[closer], sizes[closer]
        self.point[rows], self.size[rows] = proposals, sizes
        inside = self.threat.inside(self.images[rows], proposals)
        self.search.note(rows, proposals, logits[closer], lambda *_: -sizes, allowed=inside)

    def project(self) -> None:
        """One more query for each image not yet broken: its nearest point, moved into the ball."""
        rows = (~self.search.broken & self.size.isfinite()).nonzero().flatten()
        self.left.fill_(1)
        images = self.images[rows]
        delta = project(self.point[rows] - images, images, self.threat.eps, self.threat.norm)
        self.wrong(rows, (images + delta).clamp(0, 1))

    def proposed(self) -> Tensor:
        """For each image what broke it inside the ball; for examples else its nearest wrong one."""
        if self.search.goal == "verdict":
            return self.search.best
        broken = self.search.broken.view(-1, *[1] * (self.images.dim() - 1))
        return torch.where(broken, self.search.best, self.point)


def _first(rows: Tensor) -> Tensor:
    """The places in `rows`, whose equal values are neighbours, where another value begins."""
    return (rows.diff(prepend=rows[:1] - 1) != 0).nonzero().flatten()
