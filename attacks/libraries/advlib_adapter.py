"""adv-lib (Rony & Ben Ayed): attacks that seek the smallest perturbation, many by their authors.

    pip install --no-deps adv-lib

It declares visdom, which no longer installs, and which it needs only to draw curves.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.libraries.adapter import ThirdParty, version_of
from benchmark.core.types import Family

VERSION = version_of("adv-lib")
INSTALL = "pip install --no-deps adv-lib"


def library() -> ModuleType:
    """Its attacks; an empty module stands for visdom while they are imported."""
    if find_spec("visdom") is not None:
        return import_module("adv_lib.attacks")
    sys.modules["visdom"] = ModuleType("visdom")
    try:
        return import_module("adv_lib.attacks")
    finally:
        del sys.modules["visdom"]


@dataclass(frozen=True)
class AdvLib(ThirdParty):
    """A function of the library, with its own defaults but for what is written here."""

    modules: ClassVar[tuple[str, ...]] = ("adv_lib",)
    origin: ClassVar[str] = f"adv-lib {VERSION}"
    only_by_name: ClassVar[str] = "the code of adv-lib, a reference for our own attacks"
    minimum_norm: ClassVar[bool] = True
    function: ClassVar[str]
    settings: ClassVar[Mapping[str, Any]] = {}
    """What the function is given beside the number of steps."""
    steps_are: ClassVar[str] = "num_steps"
    """What the function calls the number of steps."""
    least: ClassVar[int] = 2
    """The fewest classes it works with."""
    eps: float
    steps: int = 100

    @property
    def passes(self) -> int:
        """Forward and backward for each step."""
        return 2 * self.steps

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """Too few classes."""
        if classes < self.least:
            return f"needs at least {self.least} classes, the data set has {classes}"
        return None

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """What the function makes of a copy: some ask for gradients of what they are given."""
        attack = getattr(library(), self.function)
        result: Tensor = attack(
            model, images.clone(), labels, **{self.steps_are: self.steps}, **self.settings
        )
        return result


class LastStands(nn.Module):
    """The model, but the last image is of class 0 whatever becomes of it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes)."""
        logits: Tensor = self.model(images[:-1])
        last = torch.zeros_like(logits[:1])
        last[:, 0] = 1
        return torch.cat([logits, last])


@dataclass(frozen=True)
class FastMinimumNorm(AdvLib):
    """Fast minimum norm in linf (Pintor et al. 2021, arXiv 2102.12827)."""

    name: ClassVar[str] = "al_fmn"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    function: ClassVar[str] = "fmn"
    settings: ClassVar[Mapping[str, Any]] = {"norm": math.inf}
    steps_are: ClassVar[str] = "steps"


@dataclass(frozen=True)
class FastMinimumNormL2(FastMinimumNorm):
    """Fast minimum norm in l2 (Pintor et al. 2021)."""

    name: ClassVar[str] = "al_fmn_l2"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    settings: ClassVar[Mapping[str, Any]] = {"norm": 2}


@dataclass(frozen=True)
class FastMinimumNormL1(FastMinimumNorm):
    """Fast minimum norm in l1 (Pintor et al. 2021)."""

    name: ClassVar[str] = "al_fmn_l1"
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"
    settings: ClassVar[Mapping[str, Any]] = {"norm": 1}


@dataclass(frozen=True)
class FastMinimumNormL0(FastMinimumNorm):
    """Fast minimum norm in l0 (Pintor et al. 2021); it counts each channel of a pixel."""

    name: ClassVar[str] = "al_fmn_l0"
    family: ClassVar[Family] = "sparse"
    norm: ClassVar[str] = "l0"
    white_box: ClassVar[bool] = True
    settings: ClassVar[Mapping[str, Any]] = {"norm": 0}

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """With a standing image beside: the library fails if no image of a batch needs any."""
        images, labels = torch.cat([images, images[:1]]), torch.cat([labels, labels.new_zeros(1)])
        return super().propose(LastStands(model), images, labels, rng)[:-1]


@dataclass(frozen=True)
class DecoupledDirectionNorm(AdvLib):
    """Direction by the gradient, norm by success (Rony et al. 2019, arXiv 1811.09600)."""

    name: ClassVar[str] = "al_ddn"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    function: ClassVar[str] = "ddn"
    settings: ClassVar[Mapping[str, Any]] = {"levels": None}
    steps_are: ClassVar[str] = "steps"


@dataclass(frozen=True)
class AugmentedLagrangian(AdvLib):
    """ALMA in l2: the margin as a constraint with a multiplier (Rony et al. 2021, 2011.11857)."""

    name: ClassVar[str] = "al_alma"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    function: ClassVar[str] = "alma"
    least: ClassVar[int] = 3
    steps: int = 1000


@dataclass(frozen=True)
class PrimalDual(AdvLib):
    """PDGD in l2: descent on the image, ascent on multipliers (Matyasko 2021, arXiv 2106.01538)."""

    name: ClassVar[str] = "al_pdgd"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    function: ClassVar[str] = "pdgd"
    steps: int = 500

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """A single step: the library divides by the others."""
        if self.steps < 2:
            return "needs at least 2 steps"
        return super().cannot_run(shape, classes)


@dataclass(frozen=True)
class PrimalDualProximal(PrimalDual):
    """PDPGD in linf: as PDGD, with proximal steps for the norm (Matyasko 2021)."""

    name: ClassVar[str] = "al_pdpgd"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    function: ClassVar[str] = "pdpgd"
    settings: ClassVar[Mapping[str, Any]] = {"norm": math.inf}


@dataclass(frozen=True)
class PrimalDualProximalL1(PrimalDualProximal):
    """PDPGD in l1 (Matyasko 2021)."""

    name: ClassVar[str] = "al_pdpgd_l1"
    family: ClassVar[Family] = "l1-gradient"
    norm: ClassVar[str] = "l1"
    settings: ClassVar[Mapping[str, Any]] = {"norm": 1}


@dataclass(frozen=True)
class SigmaZero(AdvLib):
    """A smooth l0 (Cinà et al. 2025, arXiv 2402.01879); it counts each channel of a pixel."""

    name: ClassVar[str] = "al_sigma_zero"
    family: ClassVar[Family] = "sparse"
    norm: ClassVar[str] = "l0"
    white_box: ClassVar[bool] = True
    function: ClassVar[str] = "sigma_zero"
    steps: int = 1000


@dataclass(frozen=True)
class TrustRegion(AdvLib):
    """Steps in l2 that grow where the linear model holds (Yao et al. 2019, arXiv 1812.06371)."""

    name: ClassVar[str] = "al_tr"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    function: ClassVar[str] = "tr"
    settings: ClassVar[Mapping[str, Any]] = {"p": 2, "adaptive": True}
    steps_are: ClassVar[str] = "iter"

    @property
    def passes(self) -> int:
        """Three forward and one backward for each step; the choice of a class among ten."""
        return 4 * self.steps + 11


@dataclass(frozen=True)
class SuperDeepFool(AdvLib):
    """DeepFool, then a step across the boundary at right angles (Abdollahpoorrostam et al. 2023).

    arXiv 2303.12481.
    """

    name: ClassVar[str] = "al_superdeepfool"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    function: ClassVar[str] = "sdf"
    steps_are: ClassVar[str] = "steps"

    @property
    def passes(self) -> int:
        """Most images take a few DeepFool steps of ten classes each; ten queries at the end."""
        return 10 * (1 + 10) + 10


for attack in (
    FastMinimumNorm, FastMinimumNormL2, FastMinimumNormL1, FastMinimumNormL0,
    DecoupledDirectionNorm, AugmentedLagrangian, PrimalDual, PrimalDualProximal,
    PrimalDualProximalL1, SigmaZero, TrustRegion, SuperDeepFool,
):  # fmt: skip
    if VERSION:
        ATTACKS.register(attack)
    else:
        ATTACKS.refuse(attack.name, INSTALL)
