"""Attacks that choose numbers, from which an image is made: where a flow bends it, how fog lies.

Which numbers made an image cannot be seen in its pixels, so no threat could check them afterwards.
Therefore an attack only chooses: what its numbers may be, and the images that they make, are here.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attacks.engine.search import Search, own_loss
from benchmark.core.model_access import select_rows
from benchmark.core.specs import check_numbers
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Goal, Shape, Threat

TINY = 1e-30
"""A gradient of this mean size is none."""


def total_variation(field: Tensor) -> Tensor:
    """How rough fields (n, numbers, *lattice) are, (n,): the lengths of all steps to a neighbour.

    The smoothness penalty of stAdv and ReColorAdv, each pair counted once. Between equal
    neighbours a length has no gradient, hence the 1e-8.
    """
    steps = [field.diff(dim=dim).square().sum(dim=1) for dim in range(2, field.dim())]
    return torch.cat([(one + 1e-8).sqrt().flatten(1) for one in steps], dim=1).sum(dim=1)


class Made(Threat):
    """What an attack itself makes of numbers that nobody can read off the pixels."""

    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """All: nothing leaves such an attack that was not made of allowed numbers."""
        return torch.ones(len(images), dtype=torch.bool, device=images.device)


class Rendering(Made):
    """All images that `make` can make, and the image itself."""

    @abstractmethod
    def chosen(self, shape: Shape) -> tuple[int, ...]:
        """The shape of the numbers that the attacker chooses for one image, each in [-1, 1]."""

    def drawn(self, shape: Shape) -> tuple[int, ...]:
        """The shape of the numbers in [0, 1) that chance draws for one image; none by default."""
        return (0,)

    @abstractmethod
    def make(self, images: Tensor, chosen: Tensor, drawn: Tensor) -> Tensor:
        """Images (n, channels, height, width) in [0, 1], differentiable in `chosen` (n, ...)."""


@dataclass(frozen=True)
class Rendered(Attack):
    """Ascent by the sign of the loss's gradient over the chosen numbers, which stay in [-1, 1].

    As in ImageNet-UA (Kaufmann et al. 2019, arXiv 1908.08016), where every latent number is
    optimised so. The image itself is always a proposal. Each restart draws anew.
    """

    white_box: ClassVar[bool] = True
    by_rows: ClassVar[bool] = True
    by_image: ClassVar[bool] = True
    start: ClassVar[float] = 1.0
    """The first numbers are uniform between minus this and this."""
    steps: int = 20
    step_size: float | None = None
    """2.5 / steps if not given, as in `pgd_linf`."""
    restarts: int = 1

    def __post_init__(self) -> None:
        """Refuse what would attack nothing, such as 0 steps: it would read as robustness."""
        check_numbers(self, least=1)

    @property
    @abstractmethod
    def threat(self) -> Rendering:
        """What is made of which numbers."""

    @property
    def passes(self) -> int:
        """The image itself; forward and backward for each step; a forward for the last iterate."""
        return 1 + self.restarts * (2 * self.steps + 1)

    def penalty(self, chosen: Tensor) -> Tensor:
        """What is taken off the loss of each image, (n,); nothing by default.

        It is weighed against a loss whose gradient is 1 in the mean over an image's numbers: the
        gradient of a confident model all but vanishes, and any penalty would outweigh it.
        """
        return 0 * chosen.flatten(1).sum(dim=1)

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. Numbers are drawn for all images, whoever is broken already."""
        search = Search(model, images, labels, goal)
        search.ask(search.everyone(), images)
        channels, height, width = images.shape[1:]
        shape = channels, height, width
        for _ in range(self.restarts):
            chosen = self.start * (2 * rng.uniform(self.threat.chosen(shape)) - 1)
            drawn = rng.uniform(self.threat.drawn(shape))
            self._climb(search, chosen.to(images.device), drawn.to(images.device))
        return search.best

    def _climb(self, search: Search, chosen: Tensor, drawn: Tensor) -> None:
        """All steps from the numbers of all images of the search."""
        rows = search.remaining()
        images, chosen, drawn = search.images[rows], chosen[rows], drawn[rows]
        stride = self.step_size or 2.5 / self.steps
        for _ in range(self.steps):
            if not len(rows):
                return
            gradient = self._noted(search, rows, images, chosen, drawn)
            stay = search.leave(rows)
            if stay is not None:
                rows, images, chosen = rows[stay], images[stay], chosen[stay]
                drawn, gradient = drawn[stay], gradient[stay]
            chosen = (chosen + stride * gradient.sign()).clamp(-1, 1)
        if len(rows):
            search.ask(rows, self.threat.make(images, chosen, drawn).clamp(0, 1))

    def _noted(
        self, search: Search, rows: Tensor, images: Tensor, chosen: Tensor, drawn: Tensor
    ) -> Tensor:
        """Note what the numbers make; the direction that raises the loss minus the penalty."""
        with torch.enable_grad():
            chosen = chosen.detach().requires_grad_()
            made = self.threat.make(images, chosen, drawn).clamp(0, 1)
            logits = select_rows(search.model, rows)(made)
            losses = own_loss(logits, search.labels[rows])
            (gradient,) = torch.autograd.grad(losses.sum(), chosen)
            (held_back,) = torch.autograd.grad(self.penalty(chosen).sum(), chosen)
        found = losses.detach()
        search.note(rows, made.detach(), logits.detach(), lambda *_: found)
        size = gradient.flatten(1).abs().mean(dim=1).clamp_min(TINY)
        return gradient / size.view(-1, *[1] * (gradient.dim() - 1)) - held_back
