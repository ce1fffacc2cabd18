"""The strongest of a few images that a set draws."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from attacks.engine.search import Search
from benchmark.core.streams import Streams


def worst(
    model: nn.Module, images: Tensor, labels: Tensor, tries: int, draw: Callable[[Streams], Tensor],
    rng: Streams,
) -> Tensor:  # fmt: skip
    """Of `tries` draws for each image the one with the highest loss, misclassified ones first."""
    search = Search(model, images, labels, "examples")
    for _ in range(tries):
        search.ask(search.everyone(), draw(rng).clamp(0, 1))
    return search.best
