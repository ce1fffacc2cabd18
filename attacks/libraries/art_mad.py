"""Attacks of ART that the MAD benchmark consists of (Peng et al. 2023, arXiv 2309.09776).

Its suites name them. They run by name only: they are slow, and most keep no radius.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from attacks.engine.dct import basis
from attacks.libraries.art_adapter import Toolbox, offer
from attacks.libraries.model_proxy import Ended
from benchmark.core.types import Family, Threat


@dataclass(frozen=True)
class Anything(Threat):
    """Any image: what the attack weighs or widens as it goes is no bound that could be checked."""

    norm: str

    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """All."""
        return torch.ones(len(images), dtype=torch.bool, device=images.device)

    def __str__(self) -> str:
        return f"{self.norm}, unbounded"


@dataclass(frozen=True)
class UniversalPerturbation(Toolbox):
    """One change for all images, out of DeepFool's for each (Moosavi-Dezfooli 2017, 1610.08401)."""

    name: ClassVar[str] = "universal_perturbation"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    inexact: ClassVar[str] = "one change for all images of a batch"
    library: ClassVar[str] = "UniversalPerturbation"
    eps: float
    steps: int = 20
    """Rounds through the images, until four of five are broken."""
    iterations: int = 100
    """Of DeepFool on an image, at most."""

    @property
    def passes(self) -> int:
        """For each round three, and perhaps five steps of DeepFool with ten gradients each."""
        return self.steps * (3 + 5 * 12)

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`."""
        deepfool = {"max_iter": self.iterations, "verbose": False}
        return {"eps": self.eps, "max_iter": self.steps, "attacker_params": deepfool}


@dataclass(frozen=True)
class NewtonFool(Toolbox):
    """Newton steps down the probability of what the model sees (Jang et al. 2017)."""

    name: ClassVar[str] = "newton_fool"
    family: ClassVar[Family] = "l2-gradient"
    norm: ClassVar[str] = "l2"
    minimum_norm: ClassVar[bool] = True
    inexact: ClassVar[str] = "it lowers the answer of the model, right or wrong"
    library: ClassVar[str] = "NewtonFool"
    probabilities: ClassVar[bool] = True
    eps: float
    steps: int = 100
    eta: float = 0.01
    """How far a step may go, as a share of the image's norm."""

    @property
    def passes(self) -> int:
        """A query, and forward and backward, for each step."""
        return 1 + 3 * self.steps

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`."""
        return {"max_iter": self.steps, "eta": self.eta, "batch_size": 128}


@dataclass(frozen=True)
class Zoo(Toolbox):
    """Carlini & Wagner by differences of 128 coordinates a step (Chen et al. 2017, 1708.03999)."""

    name: ClassVar[str] = "zoo"
    family: ClassVar[Family] = "score-based"
    norm: ClassVar[str] = "l2"
    minimum_norm: ClassVar[bool] = True
    library: ClassVar[str] = "ZooAttack"
    eps: float
    steps: int = 10
    searches: int = 1

    @property
    def passes(self) -> int:
        """Two queries for each coordinate, and one for each step; three to see what came of it."""
        return self.searches * self.steps * 257 + 3

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`; not resized, since it would resize small images to 32x32 as well."""
        return {
            "max_iter": self.steps, "binary_search_steps": self.searches, "use_resize": False,
            "use_importance": False, "nb_parallel": min(128, math.prod(shape)),
        }  # fmt: skip


@dataclass(frozen=True)
class SimBA(Toolbox):
    """Cosine waves, one after the other, added or taken away (Guo et al. 2019, 1905.07121)."""

    name: ClassVar[str] = "simba"
    family: ClassVar[Family] = "score-based"
    norm: ClassVar[str] = "l2"
    minimum_norm: ClassVar[bool] = True
    library: ClassVar[str] = "SimBA"
    probabilities: ClassVar[bool] = True
    of_squares: ClassVar[bool] = True
    eps: float
    steps: int = 3000
    step_size: float = 0.1

    @property
    def passes(self) -> int:
        """Both directions of each wave."""
        return 1 + 2 * self.steps

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`."""
        return {
            "max_iter": self.steps, "epsilon": self.step_size, "freq_dim": min(4, *shape[1:]),
        }  # fmt: skip


@dataclass(frozen=True)
class GeoDA(Toolbox):
    """Decisions alone: where the boundary is flat, its normal (Rahmati et al. 2020, 2003.06468)."""

    name: ClassVar[str] = "geoda"
    family: ClassVar[Family] = "decision-based"
    norm: ClassVar[str] = "l2"
    minimum_norm: ClassVar[bool] = True
    library: ClassVar[str] = "GeoDA"
    of_squares: ClassVar[bool] = True
    eps: float
    queries: int = 4000

    @property
    def passes(self) -> int:
        """The queries."""
        return self.queries

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`."""
        return {"max_iter": max(self.queries, 500), "sub_dim": min(10, *shape[1:])}

    def run(self, attack: Any, images: Any, labels: Any) -> Any:
        """Image by image. ART looks for a first wrong image until it finds one: here it ends.

        It cannot spread fewer than 500 queries over several estimates of the normal. It keeps its
        cosine waves in a file; making them fails with NumPy 2, so the file is there already.
        """
        if self.queries < 500:
            attack.q_opt_iter, attack.iterate = [self.queries], 1
        waves = basis(images.shape[2])[: attack.sub_dim]
        asked = attack.estimator.predict
        with TemporaryDirectory() as folder, contextlib.chdir(folder):
            file = f"2d_dct_basis_{attack.sub_dim}_{images.shape[2]}.npy"
            np.save(file, torch.kron(waves, waves).T.numpy())
            for one in range(len(images)):
                attack.estimator.predict = limited(asked, 2 * self.queries + 1000)
                with contextlib.suppress(Ended):
                    images[one] = attack.generate(images[[one]], labels[[one]])[0]
        return images


def limited(asked: Any, most: int) -> Any:
    """The function that answers for a batch, until it was asked about so many images: Ended."""
    left = most

    def predict(x: Any, batch_size: int = 0) -> Any:  # ours goes whole, whatever is asked
        nonlocal left
        left -= len(x)
        if left < 0:
            raise Ended
        return asked(x)

    return predict


@dataclass(frozen=True)
class Shadow(Toolbox):
    """A smooth change of colours that fools under noise too (Ghiasi et al. 2020, 2003.08937).

    Its three penalties bound nothing: no radius is kept.
    """

    name: ClassVar[str] = "shadow"
    family: ClassVar[Family] = "corruption"
    norm: ClassVar[str] = "shadow"
    white_box: ClassVar[bool] = True
    inexact: ClassVar[str] = "it goes away from the answer of the model, right or wrong"
    library: ClassVar[str] = "ShadowAttack"
    steps: int = 300
    samples: int = 400
    noise: float = 0.5
    """Standard deviation of the noise under which it is to fool."""
    smoothness: float = 0.3
    """Weight of the total variation."""

    @property
    def threat(self) -> Anything:  # type: ignore[override]  # no ball
        """No bound."""
        return Anything(self.norm)

    @property
    def passes(self) -> int:
        """Forward and backward of each noisy copy in each step."""
        return 1 + 2 * self.steps * self.samples

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """Neither grey nor three colours."""
        if shape[0] not in (1, 3):
            return f"needs 1 or 3 channels, images have {shape[0]}"
        return super().cannot_run(shape, classes)

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`."""
        return {
            "nb_steps": self.steps, "batch_size": self.samples, "sigma": self.noise,
            "lambda_tv": self.smoothness,
        }  # fmt: skip

    def run(self, attack: Any, images: Any, labels: Any) -> Any:
        """Image by image; without the labels, which it would take for targets."""
        for one in range(len(images)):
            images[one] = attack.generate(images[[one]])[0]
        return images


@dataclass(frozen=True)
class Wasserstein(Toolbox):
    """Mass moved between near pixels (Wong et al. 2019, arXiv 1902.07906).

    The radius grows by a tenth every ten steps where it does not suffice: no radius is kept.
    """

    name: ClassVar[str] = "wasserstein"
    family: ClassVar[Family] = "spatial"
    norm: ClassVar[str] = "wasserstein"
    white_box: ClassVar[bool] = True
    library: ClassVar[str] = "Wasserstein"
    radius: float = 0.3
    regularization: float = 3000.0
    steps: int = 400

    @property
    def threat(self) -> Anything:  # type: ignore[override]  # no ball
        """No bound."""
        return Anything(self.norm)

    @property
    def passes(self) -> int:
        """Forward, backward and a query for each step."""
        return 1 + 3 * self.steps

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`."""
        return {"eps": self.radius, "regularization": self.regularization, "max_iter": self.steps}

    def run(self, attack: Any, images: Any, labels: Any) -> Any:
        """As it is; its exponentials overflow on black pixels."""
        with np.errstate(all="ignore"):
            return super().run(attack, images, labels)


for attack in (UniversalPerturbation, NewtonFool, Zoo, SimBA, GeoDA, Shadow, Wasserstein):
    offer(attack, planned=True)
