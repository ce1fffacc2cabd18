"""What third-party attack code may touch: a proxy of the model, and nothing that lasts."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar

import torch
from torch import Tensor, nn

from attacks.engine.ball import BallAttack
from attacks.libraries.model_proxy import Ended, ModelProxy, WatchedProxy
from benchmark.core.seeding import global_state
from benchmark.core.streams import Streams
from benchmark.core.types import Batch, Goal


def version_of(package: str) -> str:
    """The version of an installed package, by its name on PyPI; empty where it is missing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


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
    leaves such an image where it is, and so do we. (A model that breaks down itself: `ModelProxy`.)
    """
    finite = proposals.isfinite().flatten(1).all(dim=1)
    return torch.where(finite.view(-1, 1, 1, 1), proposals, images)


class ThirdParty(BallAttack):
    """An attack whose work is done by a library, inside a ball of radius `eps`."""

    positive: ClassVar[bool] = False
    """Whether the library's loss is wrong for negative logits."""
    watched: ClassVar[bool] = False
    """Whether every query counts, not only what the library returns: see `WatchedProxy`."""
    apart: ClassVar[bool] = True
    """Whether the library treats each image of a batch by itself: then those that are broken may
    be left out without changing what happens to the others."""
    stops: ClassVar[bool] = False
    """Whether the library leaves an image at its first success, whatever the goal."""

    @abstractmethod
    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """What the library makes of at least one image; everything it may spoil is protected."""

    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """See `Attack.perturb`. Libraries have no goals; what is `watched` can end early.

        Minimum-norm proposals are clamped to the box, which EAD leaves by up to 1.6e-5.
        """
        if not len(images):
            return images.clone()
        images = images.contiguous()  # libraries call `view`
        proxy = self._proxy(model, Batch(images, labels), goal)
        dealer = rng.generator()  # libraries deal to the batch, not to each image
        with isolated(model, dealer):
            try:
                proposals = self.propose(proxy, images, labels, dealer).detach()
            except Ended:
                proposals = images
        proposals = unattacked_where_undefined(proposals, images)
        proposals = proposals.clamp(0, 1) if self.minimum_norm else proposals
        return proxy.settle(proposals) if isinstance(proxy, WatchedProxy) else proposals

    def _proxy(self, model: nn.Module, batch: Batch, goal: Goal) -> ModelProxy:
        if not self.watched:
            return ModelProxy(model, batch.images.device, self.positive)
        verdict = goal == "verdict"
        return WatchedProxy(
            model, batch, self.threat, positive=self.positive, saves=verdict and self.apart,
            ends=verdict or self.stops,
        )  # fmt: skip


def madry_step(eps: float, steps: int) -> float:
    """2.5 * eps / steps (Madry et al. 2018), and never more than eps."""
    return min(eps, 2.5 * eps / steps)


def count_classes(model: nn.Module, images: Tensor) -> int:
    """From the logits of one image."""
    with torch.no_grad():
        return int(model(images[:1]).shape[1])
