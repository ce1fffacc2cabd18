"""Common corruptions as chance draws them, the floor of this family.

Hendrycks & Dietterich 2019 (arXiv 1903.12261), in the five severities of their CIFAR-10-C, hence
names such as `blur_c`; lengths grow with the side of the image over its 32 pixels. They report the
accuracy at each severity, averaged over kinds. Here a row is a worst case, as every attack's is: an
image is broken if any kind of the group breaks it at any severity up to the one given, each drawn
once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from attacks.engine.exhaustive import check_most
from attacks.engine.rendered import Made
from attacks.engine.search import Search
from benchmark.core.specs import check_numbers
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Family, Goal, Scales

WORST = 5
CIFAR_SIDE = 32

Kind = Callable[[Tensor, int, Streams], Tensor]
"""Corrupts images (n, ...) in a severity from 1 to 5; not yet cut to [0, 1]."""


def scale_of(images: Tensor) -> float:
    """By how much lengths in pixels differ from those on CIFAR-10."""
    return min(images.shape[2:]) / CIFAR_SIDE


@dataclass(frozen=True)
class Severities(Made):
    """Every kind of a group in severities 1 to `severity`."""

    group: str
    severity: int
    norm: str = "corruption"

    def __str__(self) -> str:
        return f"{self.group} up to severity {self.severity}"


@dataclass(frozen=True)
class CommonCorruption(Attack):
    """Every kind of a group, from the worst severity to the least, each drawn anew."""

    family: ClassVar[Family] = "corruption"
    norm: ClassVar[str] = "corruption"
    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    low_and_high: ClassVar[Scales] = {"severity": (1 / 3, 5 / 3)}
    kinds: ClassVar[tuple[Kind, ...]]
    severity: int
    """From 1 to 5."""

    def __post_init__(self) -> None:
        """There are five severities."""
        check_numbers(self, least=1)
        check_most(self, "severity", WORST)

    @property
    def threat(self) -> Severities:
        """The kinds and severities."""
        kinds = ", ".join(kind.__name__.replace("_", " ") for kind in self.kinds)
        return Severities(kinds, self.severity)

    @property
    def passes(self) -> int:
        """The image itself; a forward for each kind and severity."""
        return 1 + self.severity * len(self.kinds)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. An image that leaves takes its stream along."""
        search = Search(model, images, labels, goal)
        search.ask(search.everyone(), images)
        rows = search.remaining()
        images, rng = images[rows], rng.take(rows)
        for severity in range(self.severity, 0, -1):
            for kind in self.kinds:
                if not len(rows):
                    return search.best
                search.ask(rows, kind(images, severity, rng).clamp(0, 1))
                stay = search.leave(rows)
                if stay is not None:
                    rows, images, rng = rows[stay], images[stay], rng.take(stay)
        return search.best
