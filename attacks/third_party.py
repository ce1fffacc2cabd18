"""What third-party attack code may touch: a stand-in for the model, and nothing that lasts."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

from benchmark.core.errors import AuditError
from benchmark.core.seeding import global_state
from benchmark.core.specs import check_numbers
from benchmark.core.types import Attack, Goal, NormBall


class StandIn(nn.Module):
    """Gives the model's logits, but is not its parent: `train()` and `eval()` stop here.

    Libraries switch modes and do not always switch back, and read the device from the first
    parameter, which a model need not have: this one has `anchor`.
    """

    anchor: nn.Parameter

    def __init__(self, model: nn.Module, device: torch.device, positive: bool = False) -> None:
        """`positive` shifts each image's logits to be at least 1, which no margin notices."""
        super().__init__()
        self.held = (model,)  # nn.Module does not look for children inside a tuple
        self.positive = positive
        self.anchor = nn.Parameter(torch.zeros((), device=device), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes); AuditError if the model breaks down on images that are fine."""
        logits: Tensor = self.held[0](images)
        if not logits.isfinite().all():
            broken = ~logits.isfinite().all(dim=1) & images.isfinite().flatten(1).all(dim=1)
            if broken.any():
                raise AuditError(f"logits are not finite for {int(broken.sum())} attacked images")
        if self.positive:
            logits = logits - logits.detach().amin(dim=1, keepdim=True) + 1
        return logits


@contextmanager
def isolated(model: nn.Module, rng: torch.Generator) -> Iterator[None]:
    """Seed global random state from `rng`, stop gradients at the parameters; undo both on leaving.

    Some attacks call `backward()`, which would otherwise leave gradients in the model. Deprecation
    warnings inside are the library's business (SparseFool hands tensors to NumPy), not the user's.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        with global_state(rng), torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


def unattacked_where_undefined(proposals: Tensor, images: Tensor) -> Tensor:
    """The proposals, but the original image where one is not finite.

    Momentum attacks divide by the mean gradient: 0/0 on an image whose gradient vanishes. PGD
    leaves such an image where it is, and so do we. (A model that breaks down itself: `StandIn`.)
    """
    finite = proposals.isfinite().flatten(1).all(dim=1)
    return torch.where(finite.view(-1, 1, 1, 1), proposals, images)


class ThirdParty(Attack):
    """An attack whose work is done by a library, inside a ball of radius `eps`."""

    eps: float
    positive: ClassVar[bool] = False
    """Whether the library's loss is wrong for negative logits."""

    def __post_init__(self) -> None:
        """Refuse numbers that libraries would stumble over later, such as 0 steps."""
        check_numbers(self, least=1)

    @property
    def threat(self) -> NormBall:
        """The ball of radius `eps`; a number of pixels in l0."""
        return NormBall(self.norm, self.eps)

    @abstractmethod
    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """What the library makes of at least one image; everything it may spoil is protected."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: torch.Generator
    ) -> Tensor:
        """See `Attack.perturb`. `goal` changes nothing: libraries have no such distinction.

        Minimum-norm proposals are clamped to the box, which EAD leaves by up to 1.6e-5.
        """
        if not len(images):
            return images.clone()
        images = images.contiguous()  # libraries call `view`
        stand_in = StandIn(model, images.device, self.positive)
        with isolated(model, rng):
            proposals = self.propose(stand_in, images, labels, rng).detach()
        proposals = unattacked_where_undefined(proposals, images)
        return proposals.clamp(0, 1) if self.minimum_norm else proposals


def count_classes(model: nn.Module, images: Tensor) -> int:
    """From the logits of one image."""
    with torch.no_grad():
        return int(model(images[:1]).shape[1])
