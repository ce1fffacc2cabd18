"""The floor: random noise of the same size. A defense that noise breaks is not a defense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
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
        """Noisy images, in the ball and in [0, 1] but for rounding."""
        raise NotImplementedError

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. An image that leaves takes its stream along."""
        search = Search(model, images, labels, goal)
        rows = search.remaining()
        for _ in range(self.draws):
            search.ask(rows, self.draw(images, rng).clamp(0, 1))
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
        """Uniform in the linf ball, cut to the box."""
        return images + project(
            random_start(images, self.eps, "linf", rng), images, self.eps, "linf"
        )


@ATTACKS.register
@dataclass(frozen=True)
class GaussianNoise(Noise):
    """A Gaussian direction, scaled to l2 size eps."""

    name: ClassVar[str] = "gaussian_noise"
    norm: ClassVar[str] = "l2"

    def draw(self, images: Tensor, rng: Streams) -> Tensor:
        """Uniform on the l2 sphere, cut to the box."""
        noise = rng.normal(tuple(images.shape[1:])).to(images.device)
        return images + project(self.eps * ascent(noise, images, "l2"), images, self.eps, "l2")


@ATTACKS.register
@dataclass(frozen=True)
class SaltPepperNoise(Noise):
    """`eps` pixels, drawn anew each time, black or white in every channel."""

    name: ClassVar[str] = "salt_pepper_noise"
    norm: ClassVar[str] = "l0"
    eps: int

    def draw(self, images: Tensor, rng: Streams) -> Tensor:
        """Salt and pepper on the pixels of the highest draws."""
        count, _, height, width = images.shape
        order = rng.uniform((height * width,)).argsort(dim=1, descending=True)
        values = (rng.signs((height * width,)) + 1) / 2
        chosen = torch.zeros_like(values, dtype=torch.bool)
        chosen.scatter_(1, order[:, : self.eps], True)
        shape = count, 1, height, width
        chosen, values = chosen.view(shape).to(images.device), values.view(shape).to(images)
        return torch.where(chosen, values, images)
