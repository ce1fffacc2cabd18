"""Other people's attacks that the benchmark has no adapter for, beside which ours are measured.

Importing this registers them for this process. Two are code that is on no package index: they
are there where a clone of fra31/sparse-rs and of CityU-MLO/sPGD (its folder autoattack) is on
PYTHONPATH.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, make_dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks import ATTACKS
from attacks.engine.ball import known
from attacks.libraries.adapter import ThirdParty
from attacks.libraries.advlib_adapter import AdvLib
from attacks.libraries.art_adapter import Toolbox
from attacks.libraries.art_mad import Anything
from attacks.libraries.foolbox_adapter import FastGradient, Foolbox, ProjectedGradient
from attacks.libraries.pyautoattack_adapter import AutoAttack
from attacks.patch.squares import AnySquare
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
class HopSkipJump(Toolbox):
    """HopSkipJump by ART, image by image."""

    library: ClassVar[str] = "HopSkipJump"
    minimum_norm: ClassVar[bool] = True
    eps: float
    steps: int = 10
    order: ClassVar[float] = 2

    @property
    def passes(self) -> int:
        """The estimates, and at most fifty queries beside each of them."""
        return sum(int(100 * math.sqrt(step + 1)) for step in range(self.steps)) + 50 * self.steps

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`."""
        return {"norm": self.order, "max_iter": self.steps, "init_eval": 100}


variant(HopSkipJump, "art_hop_skip_jump", norm="l2", order=2)
variant(HopSkipJump, "art_hop_skip_jump_linf", norm="linf", order=math.inf)


@dataclass(frozen=True)
class Patch(Toolbox):
    """One patch for all images by ART, learned for the middle of the attacker's own images."""

    name: ClassVar[str] = "art_patch"
    norm: ClassVar[str] = "patch"
    library: ClassVar[str] = "AdversarialPatchPyTorch"
    own_images: int = 500
    eps: float = 0.0
    side: int = 8
    epochs: int = 10

    @property
    def threat(self) -> AnySquare:
        """The square."""
        return AnySquare(self.side)

    @property
    def passes(self) -> int:
        """Of the attacker's images there and back, shared among 200 that are scored, say."""
        return self.own_images * 2 * self.epochs // 200

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`; a step of a twentieth."""
        middle = (shape[1] - self.side) // 2
        return {
            "patch_shape": (shape[0], self.side, self.side), "patch_location": (middle, middle),
            "rotation_max": 0.0, "max_iter": self.epochs, "targeted": False, "batch_size": 100,
            "patch_type": "square", "learning_rate": 0.05,
        }  # fmt: skip

    def run(self, attack: Any, images: Any, labels: Any) -> Any:
        """See `Toolbox`."""
        own = known(self).images
        attack.generate(own.images.numpy(), torch.eye(labels.shape[1])[own.labels].numpy())
        return attack.apply_patch(images, scale=self.side / images.shape[2])


@dataclass(frozen=True)
class Borrowed(ThirdParty):
    """A library's attack on the surrogate, whatever the target answers."""

    own_images: ClassVar[int] = 0
    origin: ClassVar[str] = "torchattacks"
    of: ClassVar[str]
    eps: float
    steps: int = 40

    @property
    def passes(self) -> int:
        """Of the surrogate."""
        return 2 * self.steps

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """The library, its last step."""
        torchattacks = import_module("torchattacks")
        size = 2.5 * self.eps / self.steps
        library = getattr(torchattacks, self.of)(
            known(self).surrogates[0], eps=self.eps, alpha=size, steps=self.steps
        )
        found: Tensor = library(images, labels)
        return found


variant(Borrowed, "ta_transfer_pgd", norm="linf", of="PGD")
variant(Borrowed, "ta_transfer_pgd_l2", norm="l2", of="PGDL2")
variant(Borrowed, "ta_transfer_mifgsm", norm="linf", of="MIFGSM", surrogates=(None,))


@dataclass(frozen=True)
class SparseRS(ThirdParty):
    """Sparse-RS by its authors' code, in l0 or as a patch."""

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
class PatchRS(SparseRS):
    """Its patches; `eps` is their area."""

    name: ClassVar[str] = "rs_patch"
    norm: ClassVar[str] = "patch"
    kind: ClassVar[str] = "patches"
    share: ClassVar[float] = 0.4
    eps: float = 64

    @property
    def threat(self) -> AnySquare:
        """The square."""
        return AnySquare(int(self.eps**0.5))


ATTACKS.register(PatchRS)


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


for attack in (SparseDescent, Grid, Margin, HopSkipJump, Patch, SparsePGD):
    if "name" in vars(attack):
        ATTACKS.register(attack)
