"""The floor: random noise of the same size. A defense that noise breaks is not a defense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from attacks import ATTACKS
from attacks.engine.ball import BallAttack
from attacks.engine.geometry import ascent, project, random_start
from attacks.engine.search import Search
from benchmark.core.streams import Streams
from benchmark.core.types import Family, Goal


@dataclass(frozen=True)
class Noise(BallAttack):
    """`draws` independent draws per image; the most harmful one counts."""

    family: ClassVar[Family] = "noise"
    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    eps: float
    draws: int = 20

    @property
    def passes(self) -> int:
        """One forward a draw."""
        return self.draws

    def draw(self, images: Tensor, rng: Streams) -> Tensor:
        """One perturbation per image."""
        raise NotImplementedError

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. An image that leaves takes its stream along."""
        search = Search(model, images, labels, goal)
        rows = search.remaining()
        for _ in range(self.draws):
            delta = project(self.draw(images, rng), images, self.eps, self.norm)
            search.ask(rows, (images + delta).clamp(0, 1))
            stay = search.leave(rows)
            if stay is not None:
                rows, images, rng = rows[stay], images[stay], rng.take(stay)
            if not len(rows):
                break
        return search.best


@ATTACKS.register
@dataclass(frozen=True)
class UniformNoise(Noise):
    """Every pixel moved by a uniform draw from [-eps, eps]."""

    name: ClassVar[str] = "uniform_noise"
    norm: ClassVar[str] = "linf"

    def draw(self, images: Tensor, rng: Streams) -> Tensor:
        """Uniform in the linf ball."""
        return random_start(images, self.eps, "linf", rng)


@ATTACKS.register
@dataclass(frozen=True)
class GaussianNoise(Noise):
    """A Gaussian direction, scaled to l2 size eps."""

    name: ClassVar[str] = "gaussian_noise"
    norm: ClassVar[str] = "l2"

    def draw(self, images: Tensor, rng: Streams) -> Tensor:
        """Uniform on the l2 sphere."""
        noise = rng.normal(tuple(images.shape[1:])).to(images.device)
        return self.eps * ascent(noise, images, "l2")
