"""Foolbox (Rauber et al. 2017, arXiv 1707.04131): attacks by gradients and by decisions.

    pip install foolbox

References for our own attacks; of two that begin far away, the start is looked for here.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.libraries.adapter import ThirdParty, madry_step, version_of
from benchmark.core.types import Family

VERSION = version_of("foolbox")
INSTALL = "pip install foolbox"
DIRECTIONS = 100
"""Random images that are tried for a start; from one that is wrong, 50 steps lead to the image."""


@dataclass(frozen=True)
class Foolbox(ThirdParty):
    """A class of the library; what it is built with is up to the attack."""

    modules: ClassVar[tuple[str, ...]] = ("foolbox",)
    origin: ClassVar[str] = f"foolbox {VERSION}"
    only_by_name: ClassVar[str] = "the code of Foolbox, a reference for our own attacks"
    library: ClassVar[str]
    """Class in foolbox.attacks."""
    eps: float

    def settings(self) -> dict[str, Any]:
        """What the class is built with."""
        raise NotImplementedError

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """Inside eps; of a minimum-norm attack what it found, and else the image itself.

        Where it found nothing, some of them return a black image.
        """
        foolbox = import_module("foolbox")
        target = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device=images.device)
        library = getattr(foolbox.attacks, self.library)(**self.settings())
        if self.minimum_norm:
            return self._smallest(library, target, images, labels)
        result: Tensor = library(target, images, labels, epsilons=self.eps)[1]
        return result

    def _smallest(self, library: Any, target: Any, images: Tensor, labels: Tensor) -> Tensor:
        found, _, success = library(target, images, labels, epsilons=None)
        return torch.where(success.view(-1, 1, 1, 1), found, images)


@dataclass(frozen=True)
class FastGradient(Foolbox):
    """One step along the sign of the gradient (Goodfellow et al. 2015)."""

    name: ClassVar[str] = "fb_fgsm"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    library: ClassVar[str] = "LinfFastGradientAttack"

    @property
    def passes(self) -> int:
        """Forward and backward."""
        return 2

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`."""
        return {"random_start": False}


@dataclass(frozen=True)
class ProjectedGradient(Foolbox):
    """PGD from a random start (Madry et al. 2018), the last iterate."""

    name: ClassVar[str] = "fb_pgd"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    library: ClassVar[str] = "LinfPGD"
    steps: int = 40

    @property
    def passes(self) -> int:
        """Forward and backward for each step."""
        return 2 * self.steps

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`."""
        return {"steps": self.steps, "abs_stepsize": madry_step(self.eps, self.steps)}


@dataclass(frozen=True)
class ProjectedGradientL2(ProjectedGradient):
    """PGD in l2 from a random start, the last iterate."""

    name: ClassVar[str] = "fb_pgd_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    library: ClassVar[str] = "L2PGD"


@dataclass(frozen=True)
class DeepFool(Foolbox):
    """DeepFool (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599) among the ten likeliest classes."""

    name: ClassVar[str] = "fb_deepfool"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    library: ClassVar[str] = "L2DeepFoolAttack"
    minimum_norm: ClassVar[bool] = True
    steps: int = 50

    @property
    def passes(self) -> int:
        """Forward and backward for each of nine other classes in each step."""
        return 2 * 9 * self.steps

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`."""
        return {"steps": self.steps}


@dataclass(frozen=True)
class DeepFoolLinf(DeepFool):
    """DeepFool in linf."""

    name: ClassVar[str] = "fb_deepfool_linf"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    library: ClassVar[str] = "LinfDeepFoolAttack"


@dataclass(frozen=True)
class CarliniWagner(Foolbox):
    """Adam on distance and margin, the trade-off searched by halving (Carlini & Wagner 2017)."""

    name: ClassVar[str] = "fb_cw"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    library: ClassVar[str] = "L2CarliniWagnerAttack"
    minimum_norm: ClassVar[bool] = True
    steps: int = 100
    searches: int = 9

    @property
    def passes(self) -> int:
        """Forward and backward for each step of each search."""
        return 2 * self.steps * self.searches

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`; the step for a hundred of them, not its own for 10,000."""
        return {"steps": self.steps, "binary_search_steps": self.searches, "stepsize": 0.05}


@dataclass(frozen=True)
class ElasticNet(CarliniWagner):
    """Elastic net, the best by l1 (Chen et al. 2018, arXiv 1709.04114)."""

    name: ClassVar[str] = "fb_ead"
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"
    library: ClassVar[str] = "EADAttack"

    @property
    def passes(self) -> int:
        """Two forward and one backward for each step of each search."""
        return 3 * self.steps * self.searches

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`."""
        return {
            "steps": self.steps, "binary_search_steps": self.searches, "decision_rule": "L1",
        }  # fmt: skip


@dataclass(frozen=True)
class Boundary(Foolbox):
    """Decisions alone: a walk along the boundary (Brendel et al. 2018, arXiv 1712.04248)."""

    name: ClassVar[str] = "fb_boundary"
    family: ClassVar[Family] = "decision-based"
    norm: ClassVar[str] = "l2"
    library: ClassVar[str] = "BoundaryAttack"
    minimum_norm: ClassVar[bool] = True
    steps: int = 25000

    @property
    def passes(self) -> int:
        """The search for a start; a query for each step, and another for each tenth."""
        return DIRECTIONS + 50 + self.steps + self.steps // 10

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`."""
        return {"steps": self.steps}

    def _smallest(self, library: Any, target: Any, images: Tensor, labels: Tensor) -> Tensor:
        """The library refuses a batch of which it finds no start for one: that one stays as it is.

        An image that is wrong already is its own start, and 0 away from it.
        """
        foolbox = import_module("foolbox")
        search = foolbox.attacks.LinearSearchBlendedUniformNoiseAttack(
            directions=DIRECTIONS, steps=50
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it says that it found none for some
            starts, _, found = search(target, images, labels, epsilons=None)
        found &= (starts != images).flatten(1).any(dim=1)
        perturbed = images.clone()
        if found.any():
            perturbed[found] = library.run(
                target, images[found], foolbox.Misclassification(labels[found]),
                starting_points=starts[found],
            )  # fmt: skip
        return perturbed


@dataclass(frozen=True)
class HopSkipJump(Boundary):
    """Decisions alone: gradients from the boundary (Chen et al. 2020, arXiv 1904.02144)."""

    name: ClassVar[str] = "fb_hop_skip_jump"
    library: ClassVar[str] = "HopSkipJumpAttack"
    steps: int = 10
    first: int = 100
    """Queries of the first estimate; they grow with the square root of the step."""

    @property
    def passes(self) -> int:
        """The search for a start; the estimates, and at most fifty queries beside each of them."""
        estimates = sum(int(self.first * math.sqrt(step + 1)) for step in range(self.steps))
        return DIRECTIONS + 50 + estimates + 50 * self.steps

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`."""
        return {"steps": self.steps, "initial_gradient_eval_steps": self.first}


for attack in (
    FastGradient, ProjectedGradient, ProjectedGradientL2, DeepFool, DeepFoolLinf, CarliniWagner,
    ElasticNet, Boundary, HopSkipJump,
):  # fmt: skip
    if VERSION:
        ATTACKS.register(attack)
    else:
        ATTACKS.refuse(attack.name, INSTALL)
