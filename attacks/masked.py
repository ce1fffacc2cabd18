"""PGD against models that hide their gradients: behind randomness, or behind a step without any.

Both are plain PGD against a model that does neither (Athalye, Carlini & Wagner 2018, arXiv
1802.00420).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.engine.search import AttackLoss, Search, Slope, own_loss
from attacks.gradient import PGDLinf
from benchmark.core.model_access import float32_model, select_rows
from benchmark.core.types import Goal

Place = Literal["handed", "images"]
FEW = 4
"""Images that tell which module is the network behind a defense."""


class Averaged(Search):
    """A search that asks several times: logits, losses and gradients are means over the draws."""

    draws: int

    def ask(
        self, rows: Tensor, proposals: Tensor, loss: AttackLoss = own_loss,
        allowed: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """See `Search.ask`."""
        with torch.no_grad():
            model = select_rows(self.model, rows)
            logits = torch.stack([model(proposals) for _ in range(self.draws)]).mean(dim=0)
        self.note(rows, proposals, logits, loss, allowed)
        return logits

    def slope(self, rows: Tensor, proposals: Tensor, loss: AttackLoss) -> Slope:
        """See `Search.slope`; one pass at a time, since some models draw once for a whole batch."""
        found = [super(Averaged, self).slope(rows, proposals, loss) for _ in range(self.draws)]
        return Slope(*(torch.stack(parts).mean(dim=0) for parts in zip(*found, strict=True)))


@ATTACKS.register
@dataclass(frozen=True)
class ExpectationPGD(PGDLinf):
    """PGD in linf on the expectation over a model's randomness (EOT, Athalye et al. 2018).

    Gradients are means over `draws` passes, and so are the logits that tell what is broken: an
    image that one lucky draw gets wrong is not. Croce et al. 2022 (arXiv 2202.13711) take 20 draws
    and more.
    """

    name: ClassVar[str] = "pgd_linf_eot"
    only_by_name: ClassVar[str] = "pgd_linf, unless the model answers at random"
    steps: int = 20
    draws: int = 20

    @property
    def passes(self) -> int:
        """As those of PGD, `draws` times."""
        return self.draws * super().passes

    def search(self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal) -> Search:
        """See `PGD.search`. Whatever the goal nobody leaves: success is a matter of degree here."""
        search = Averaged(model, images, labels, "examples")
        search.draws = self.draws
        return search


class Around(Search):
    """A search whose gradients are those of the network inside a model.

    What comes after the network is left out, and what comes before it counts as the identity on the
    way back, or is left out too. Logits, which tell what is broken, are those of the whole model.
    """

    network: nn.Module
    at: Place

    def slope(self, rows: Tensor, proposals: Tensor, loss: AttackLoss) -> Slope:
        """See `Search.slope`."""
        with torch.no_grad(), handed(self.network) as inputs:
            logits: Tensor = self.model(proposals)
            losses = loss(logits, self.labels[rows])
        with torch.enable_grad():
            asked = (inputs[-1] if self.at == "handed" else proposals.clone()).requires_grad_()
            behind = loss(self.network(asked), self.labels[rows])
            (gradient,) = torch.autograd.grad(behind.sum(), asked)
        return Slope(logits, losses, gradient)


@contextmanager
def handed(network: nn.Module) -> Iterator[list[Tensor]]:
    """What a module inside a model is called with, in order: copies without gradient."""
    seen: list[Tensor] = []

    def note(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach().clone())

    handle = network.register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


@torch.no_grad()
def network_behind(model: nn.Module, images: Tensor) -> nn.Module | None:
    """The network that a model hides behind a step of its own; None where there is none.

    That is the outermost module inside the model that takes images and returns logits, as the model
    does, but is handed other images than the model or returns other logits.

    Args:
        model: plain, frozen.
        images: a few (n, channels, height, width) in [0, 1].
    """
    calls: dict[nn.Module, tuple[object, object]] = {}

    def note(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        calls[module] = (inputs[0] if len(inputs) == 1 else None), output

    inside = [part for part in model.modules() if not isinstance(part, torch.jit.ScriptModule)]
    handles = [part.register_forward_hook(note) for part in inside if part is not model]
    try:
        logits: Tensor = model(images)
    finally:
        for handle in handles:
            handle.remove()
    for part in inside:
        given, answer = calls.get(part, (None, None))
        if isinstance(given, Tensor) and isinstance(answer, Tensor):
            alike = given.shape == images.shape and answer.shape == logits.shape
            if alike and not (torch.equal(given, images) and torch.equal(answer, logits)):
                return part
    return None


@ATTACKS.register
@dataclass(frozen=True)
class BackwardPassPGD(PGDLinf):
    """PGD in linf around what a defense does before and after its network (BPDA, Athalye 2018).

    Gradients are those of the network inside. Where a model has none, this is `pgd_linf`.
    """

    name: ClassVar[str] = "pgd_linf_bpda"
    only_by_name: ClassVar[str] = "pgd_linf, unless the model changes images before its network"
    by_rows: ClassVar[bool] = False
    at: Place = "handed"
    """Where the network is asked for them: at what it is handed, so that the step before it counts
    as the identity on the way back, or at the `images` themselves, as if it was all there is."""

    @property
    def needs_gradient(self) -> bool:
        """Not of the whole model: that of the network inside will do."""
        return False

    def search(self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal) -> Search:
        """See `PGD.search`."""
        exact = float32_model(model)
        network = network_behind(exact, images[:FEW])
        if network is None:
            return super().search(model, images, labels, goal)
        search = Around(exact, images, labels, goal)
        search.network, search.at = network, self.at
        return search
