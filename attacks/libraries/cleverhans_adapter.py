"""CleverHans (Papernot et al. 2018): FGM, PGD, CW, SPSA and HopSkipJump by their authors' code.

    pip install --no-deps cleverhans

Its release declares packages that it does not need for torch, and that no longer install.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.libraries.adapter import ThirdParty, count_classes, madry_step
from benchmark.core.types import Family

INSTALLED = find_spec("cleverhans") is not None
BOX = {"clip_min": 0.0, "clip_max": 1.0}


@dataclass(frozen=True)
class CleverHans(ThirdParty):
    """A function of the library; what it is called with is up to the attack."""

    modules: ClassVar[tuple[str, ...]] = ("cleverhans",)
    origin: ClassVar[str] = f"cleverhans {version('cleverhans')}" if INSTALLED else ""
    only_by_name: ClassVar[str] = "the code of CleverHans, a reference for our own attacks"
    function: ClassVar[str]
    """Of the module that is called like it, or like it and `_attack` behind."""
    eps: float

    def arguments(self, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """All but the model and the images."""
        raise NotImplementedError

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """What the function makes of the images."""
        attack = getattr(import_module(f"cleverhans.torch.attacks.{self.function}"), self.function)
        result: Tensor = attack(model, images, **self.arguments(model, images, labels))
        return result


@dataclass(frozen=True)
class FastGradient(CleverHans):
    """One step along the sign of the gradient."""

    name: ClassVar[str] = "ch_fgm"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    function: ClassVar[str] = "fast_gradient_method"

    @property
    def passes(self) -> int:
        """Forward and backward."""
        return 2

    def arguments(self, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """See `CleverHans`."""
        return {"eps": self.eps, "norm": math.inf, "y": labels, **BOX}


@dataclass(frozen=True)
class ProjectedGradient(CleverHans):
    """PGD from a random start, the last iterate."""

    name: ClassVar[str] = "ch_pgd"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    function: ClassVar[str] = "projected_gradient_descent"
    order: ClassVar[float] = math.inf
    steps: int = 40

    @property
    def passes(self) -> int:
        """Forward and backward for each step."""
        return 2 * self.steps

    def arguments(self, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """See `CleverHans`; its sanity checks take eps for a size in the box."""
        return {
            "eps": self.eps, "eps_iter": madry_step(self.eps, self.steps),
            "nb_iter": self.steps, "norm": self.order, "y": labels, "rand_minmax": self.eps,
            "sanity_checks": False, **BOX,
        }  # fmt: skip


@dataclass(frozen=True)
class ProjectedGradientL2(ProjectedGradient):
    """PGD in l2 from a random start, the last iterate."""

    name: ClassVar[str] = "ch_pgd_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    order: ClassVar[float] = 2


@dataclass(frozen=True)
class CarliniWagner(CleverHans):
    """Adam on the distance and the margin, the trade-off searched by halving."""

    name: ClassVar[str] = "ch_cw"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    function: ClassVar[str] = "carlini_wagner_l2"
    minimum_norm: ClassVar[bool] = True
    apart: ClassVar[bool] = False
    steps: int = 100
    searches: int = 5

    @property
    def passes(self) -> int:
        """Forward and backward for each step of each search."""
        return 2 * self.steps * self.searches

    def arguments(self, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """See `CleverHans`."""
        return {
            "n_classes": count_classes(model, images), "y": labels, "max_iterations": self.steps,
            "binary_search_steps": self.searches, **BOX,
        }  # fmt: skip


@dataclass(frozen=True)
class Spsa(CleverHans):
    """Gradients estimated from differences (Uesato et al. 2018), image by image."""

    name: ClassVar[str] = "ch_spsa"
    family: ClassVar[Family] = "score-based"
    norm: ClassVar[str] = "linf"
    function: ClassVar[str] = "spsa"
    steps: int = 10
    samples: int = 128

    @property
    def passes(self) -> int:
        """A forward pass for each sample of each step."""
        return self.steps * self.samples

    def arguments(self, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """See `CleverHans`."""
        return {
            "eps": self.eps, "nb_iter": self.steps, "y": labels, "spsa_samples": self.samples,
            "sanity_checks": False, **BOX,
        }  # fmt: skip


@dataclass(frozen=True)
class HopSkipJump(CleverHans):
    """Decisions alone: along the boundary (Chen et al. 2020), image by image."""

    name: ClassVar[str] = "ch_hop_skip_jump"
    family: ClassVar[Family] = "decision-based"
    norm: ClassVar[str] = "l2"
    function: ClassVar[str] = "hop_skip_jump_attack"
    minimum_norm: ClassVar[bool] = True
    steps: int = 10
    first: int = 100
    """Queries of the first estimate; they grow with the square root of the step."""

    @property
    def passes(self) -> int:
        """The estimates, and at most fifty queries beside each of them and before the first."""
        estimates = sum(int(self.first * math.sqrt(step + 1)) for step in range(self.steps))
        return estimates + 50 * (self.steps + 1)

    def arguments(self, model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Any]:
        """See `CleverHans`; it attacks what the model answers, whatever the labels are."""
        return {
            "norm": 2, "num_iterations": self.steps, "initial_num_evals": self.first,
            "verbose": False, "clip_min": 0, "clip_max": 1,
        }  # fmt: skip


for attack in (
    FastGradient, ProjectedGradient, ProjectedGradientL2, CarliniWagner, Spsa, HopSkipJump
):  # fmt: skip
    if INSTALLED:
        ATTACKS.register(attack)
    else:
        ATTACKS.refuse(attack.name, "pip install --no-deps cleverhans")
