"""Sets of what an attacker may do to an image, found from pairs of images before and after.

`attacks.threats` has the representations; who adapts is handed them as values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from torch import Tensor, nn

from benchmark.core.errors import UsageError
from benchmark.core.streams import Streams
from benchmark.core.threats.options import Amplify
from benchmark.core.types import Batch


class Pairs(NamedTuple):
    """Images (n, channels, height, width) as they are, and row by row as they were attacked."""

    originals: Tensor
    attacked: Tensor

    def take(self, rows: Tensor | slice) -> Pairs:
        """Some of them: bool (n,), int64 or a slice."""
        return Pairs(self.originals[rows], self.attacked[rows])

    def parted(self) -> tuple[Pairs, Pairs]:
        """Seven tenths to choose a rank or size by, and the others to judge it."""
        part = len(self.originals) * 7 // 10
        return self.take(slice(part)), self.take(slice(part, None))

    @property
    def distances(self) -> Tensor:
        """||attacked - original||^2, (n,)."""
        return (self.attacked - self.originals).square().flatten(1).sum(dim=1)

    def check(self) -> None:
        """Raise UsageError unless each attacked image has an original of its size."""
        if self.originals.shape != self.attacked.shape:
            before, after = (tuple(one.shape) for one in self)
            raise UsageError(
                f"pairs: expected attacked images of the shape of their originals, {before}, "
                f"got {after}"
            )


class ThreatSet(Protocol):
    """What may become of an image."""

    def __str__(self) -> str:
        """What it is, in a short phrase: `a warp of rank 2`."""

    def nearest(self, pairs: Pairs) -> Tensor:
        """What of the set comes next to the attacked images; may leave [0, 1]."""

    def attack_inside(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: Streams
    ) -> Tensor:
        """The strongest of a few images of the set, in [0, 1]; `rng` holds a stream per image."""

    def scaled(self, share: float) -> ThreatSet | None:
        """A share as large, where the pairs tell how far images move but not how; else None."""


class RepresentationSet(Protocol):
    """A way to describe what was done to pairs."""

    @property
    def name(self) -> str:
        """One word."""

    def fit(self, pairs: Pairs) -> ThreatSet | None:
        """The set that made the pairs, all of which changed; None where it cannot be found."""


class Inference(NamedTuple):
    """What pairs say about the attacker."""

    kind: str
    """The name of the representation that was chosen; empty where nothing was."""
    found: ThreatSet | None
    """None where no image changed."""
    residuals: Mapping[str, float | None]
    """Of each representation on pairs that it was not fitted on, the best first: the median of
    ||nearest - attacked||^2 / ||attacked - original||^2; None where it could not be fitted.
    Without originals what undoing leaves of the squared distance to own images of the label."""
    pairs: int
    """That changed, as many as were looked at; without originals, with a label of own images."""
    clipped: float
    """Share of the numbers of `nearest` that leave [0, 1], and are cut."""
    in_order: bool
    """Whether most attacked images are nearest to their own original: if not, nothing else fits."""


Infer = Callable[[Amplify, Pairs], Inference]
InferAlone = Callable[[Amplify, nn.Module, Batch, Batch], Inference]
"""The same from attacked images without originals: the model, these and own clean images."""
