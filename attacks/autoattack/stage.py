"""What the parts of AutoAttack have in common: each is an attack, and each can follow another."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from attacks.engine.ball import BallAttack
from attacks.engine.search import Search
from benchmark.core.streams import Streams
from benchmark.core.types import Goal


class Stage(BallAttack):
    """An attack that goes on where a search stands, inside a ball of radius `eps`."""

    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    only_by_name: ClassVar[str] = "a part of aa_linf or aa_l2"

    def attack(self, search: Search, rng: Streams) -> None:
        """Attack the images of `search` that still stand. `rng`: a stream per image of it."""
        raise NotImplementedError

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. What is wrong without an attack is left as it is."""
        search = Search(model, images, labels, goal)
        if len(images):
            search.ask(search.everyone(), images)
            self.attack(search, rng)
        return search.best


def likeliest_wrong(search: Search, rows: Tensor, count: int) -> Tensor:
    """The `count` likeliest wrong classes of the clean images, the likeliest first: (rows, count).

    There are only as many as there are wrong classes. Costs a forward pass.
    """
    logits = search.ask(rows, search.images[rows])
    wrong = logits.scatter(1, search.labels[rows][:, None], -torch.inf)
    return wrong.topk(min(count, logits.shape[1] - 1), dim=1).indices
