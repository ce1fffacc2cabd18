"""Other people's attacks that the benchmark has no adapter for, beside which ours are measured.

Importing this registers them for this process. Two are code that is on no package index: they
are there where a clone of fra31/sparse-rs and of CityU-MLO/sPGD (its folder autoattack) is on
PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass, make_dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.libraries.adapter import ThirdParty
from attacks.libraries.advlib_adapter import AdvLib
from attacks.libraries.art_mad import Anything
from attacks.libraries.foolbox_adapter import FastGradient, Foolbox, ProjectedGradient
from attacks.libraries.pyautoattack_adapter import AutoAttack
from benchmark.core.seeding import draw_seed
from benchmark.core.types import Threat


def variant(base: type[Any], name: str, **facts: Any) -> None:
    """Register `base` under another name with some of its class variables changed."""
    space = {"name": name, "__doc__": base.__doc__, "__module__": __name__, **facts}
    ATTACKS.register(make_dataclass(name, [], bases=(base,), frozen=True, namespace=space))


@dataclass(frozen=True)
class Part(AutoAttack):
    """One part of AutoAttack by its authors' code."""

    norms: ClassVar[dict[str, str]] = {"linf": "Linf", "l2": "L2", "l1": "L1"}
    part: ClassVar[str]

    @property
    def passes(self) -> int:
        """As published; an iteration of FAB costs 3 passes, of APGD 2."""
        cost = {"apgd-ce": 2, "apgd-dlr": 2, "apgd-t": 18, "fab-t": 27, "square": 0}[self.part]
        return cost * self.iterations if cost else self.queries

    def _library(self, model: nn.Module, images: Tensor, seed: int) -> Any:
        library = super()._library(model, images, seed)
        library.attacks_to_run, library.apgd.n_restarts = [self.part], 1
        return library


for norm, behind in (("linf", ""), ("l2", "_l2"), ("l1", "_l1")):
    for part in ("apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"):
        variant(Part, f"pa_{part.replace('-', '_')}{behind}", norm=norm, part=part)

variant(FastGradient, "fb_fgm_l2", norm="l2", library="L2FastGradientAttack")
variant(FastGradient, "fb_fgm_l1", norm="l1", library="L1FastGradientAttack")
variant(ProjectedGradient, "fb_pgd_l1", norm="l1", library="L1PGD")


@dataclass(frozen=True)
class SparseDescent(ProjectedGradient):
    """Sparse l1 descent (Tramer & Boneh 2019)."""

    name: ClassVar[str] = "fb_sparse_l1"
    norm: ClassVar[str] = "l1"
    library: ClassVar[str] = "SparseL1DescentAttack"

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`; of the gradients the steepest hundredth."""
        return {**super().settings(), "quantile": 0.99}


@dataclass(frozen=True)
class RepeatedNoise(Foolbox):
    """Noise drawn `draws` times; the first that is wrong counts."""

    draws: int = 20

    @property
    def passes(self) -> int:
        """A query a draw."""
        return self.draws

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`."""
        return {"repeats": self.draws}


variant(
    RepeatedNoise, "fb_gaussian", norm="l2",
    library="L2ClippingAwareRepeatedAdditiveGaussianNoiseAttack",
)  # fmt: skip
variant(RepeatedNoise, "fb_uniform", norm="linf", library="LinfRepeatedAdditiveUniformNoiseAttack")


@dataclass(frozen=True)
class SaltAndPepper(RepeatedNoise):
    """Salt and pepper on ever fewer pixels; it seeks the least, and is inside or is not."""

    minimum_norm: ClassVar[bool] = True

    def settings(self) -> dict[str, Any]:
        """See `Foolbox`."""
        return {"steps": self.draws}


variant(SaltAndPepper, "fb_salt_pepper", norm="l0", library="SaltAndPepperNoiseAttack")


@dataclass(frozen=True)
class Grid(Foolbox):
    """Every rotation and translation on a grid; Foolbox interpolates in its own way."""

    norm: ClassVar[str] = "spatial"
    name: ClassVar[str] = "fb_spatial"
    eps: float = 0.0
    degrees: float = 30.0
    shift: int = 3
    angles: int = 31
    shifts: int = 5

    @property
    def threat(self) -> Threat:
        """Whatever it returns."""
        return Anything(self.norm)

    @property
    def passes(self) -> int:
        """All of them."""
        return self.angles * self.shifts**2

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """See `Foolbox`; it takes no radius."""
        foolbox = import_module("foolbox")
        target = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device=images.device)
        library = foolbox.attacks.SpatialAttack(
            max_translation=self.shift, max_rotation=self.degrees,
            num_translations=self.shifts, num_rotations=self.angles,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch.meshgrid asks for its indexing
            found: Tensor = library(target, images, foolbox.Misclassification(labels))[0]
        return found.clamp(0, 1)


@dataclass(frozen=True)
class Margin(AdvLib):
    """PGD in linf on the difference of logits ratio, by adv-lib."""

    name: ClassVar[str] = "al_pgd_dlr"
    norm: ClassVar[str] = "linf"
    minimum_norm: ClassVar[bool] = False
    steps: int = 40

    @property
    def passes(self) -> int:
        """Forward and backward for each step."""
        return 2 * self.steps

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """See `AdvLib`; the step of Madry et al."""
        from attacks.libraries.advlib_adapter import library

        found: Tensor = library().pgd_linf(
            model, images, labels, self.eps, steps=self.steps, loss_function="dlr",
            absolute_step_size=2.5 * self.eps / self.steps,
        )  # fmt: skip
        return found


@dataclass(frozen=True)
class SparseRS(ThirdParty):
    """Sparse-RS by its authors' code."""

    norm: ClassVar[str] = "l0"
    kind: ClassVar[str] = "L0"
    share: ClassVar[float] = 0.3
    origin: ClassVar[str] = "fra31/sparse-rs"
    eps: float
    queries: int = 5000

    @property
    def passes(self) -> int:
        """A query each."""
        return self.queries

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """See `RSAttack`; it prints."""
        attack = import_module("rs_attacks").RSAttack(
            model, norm=self.kind, eps=int(self.eps), n_queries=self.queries, p_init=self.share,
            seed=draw_seed(rng), verbose=False,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            found: Tensor = attack.perturb(images, labels)[1]
        return found


variant(SparseRS, "rs_l0")


@dataclass(frozen=True)
class SparsePGD(ThirdParty):
    """Sparse PGD by its authors' code: unprojected, then projected on what stands."""

    name: ClassVar[str] = "spgd"
    norm: ClassVar[str] = "l0"
    origin: ClassVar[str] = "CityU-MLO/sPGD"
    eps: float
    steps: int = 100

    @property
    def passes(self) -> int:
        """Forward and backward for each step of both."""
        return 4 * self.steps

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """Both in turn."""
        found = images.clone()
        for unprojected in (True, False):
            with torch.no_grad():
                rows = (model(found).argmax(dim=1) == labels).nonzero().flatten()
            if len(rows):
                attack = import_module("spgd").SparsePGD(
                    model, k=int(self.eps), t=self.steps, unprojected_gradient=unprojected
                )
                found[rows] = attack(images[rows], labels[rows])[0].detach()
        return found


for attack in (SparseDescent, Grid, Margin, SparsePGD):
    ATTACKS.register(attack)
