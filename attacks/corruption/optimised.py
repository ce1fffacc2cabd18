"""What corruptions that the attacker optimises have in common, as in ImageNet-UA.

Kaufmann, Kang et al. 2019 (arXiv 1908.08016) corrupt an image by a differentiable picture of fog,
snow or wood, and let the attacker choose the numbers it is made of. Each corruption here says in
`make` what it is; its one size, given per data set in strengths.toml, bounds how strong it gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from attacks.engine.exhaustive import check_most
from attacks.engine.rendered import Rendered, Rendering
from benchmark.core.types import Family, Scales


@dataclass(frozen=True)
class Scene(Rendering):
    """A corruption of some size in [0, 1]; one of size 0 leaves images as they are."""

    size: float
    word: str
    """What the size is called."""
    norm: str = "corruption"

    def __str__(self) -> str:
        return f"{self.word} {self.size:.4g}"


@dataclass(frozen=True)
class OptimisedCorruption(Rendered):
    """Ascent over the numbers of a `scene`, whose size is the one option in `low_and_high`."""

    family: ClassVar[Family] = "corruption"
    norm: ClassVar[str] = "corruption"
    scene: ClassVar[type[Scene]]
    low_and_high: ClassVar[Scales]

    def __post_init__(self) -> None:
        """Refuse what would attack nothing, and sizes above 1."""
        super().__post_init__()
        (word,) = self.low_and_high
        check_most(self, word, 1)

    @property
    def threat(self) -> Scene:
        """The scene in its size."""
        (word,) = self.low_and_high
        return self.scene(getattr(self, word), word)


def blend(images: Tensor, other: Tensor | float, share: Tensor) -> Tensor:
    """Images of which a share in [0, 1] is something else, each shape broadcast."""
    return images + share * (other - images)


def half(chosen: Tensor) -> Tensor:
    """Numbers in [-1, 1] as numbers in [0, 1]."""
    return (chosen + 1) / 2
