"""The Adversarial Robustness Toolbox, ART (Nicolae et al. 2018, arXiv 1807.01069).

    pip install adversarial-robustness-toolbox

It works in NumPy, much of it image by image, and makes a folder `.art` at home when it is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from attacks import ATTACKS
from attacks.libraries.adapter import ThirdParty, count_classes, madry_step, version_of
from benchmark.core.seeding import global_state
from benchmark.core.types import Family

VERSION = version_of("adversarial-robustness-toolbox")
INSTALL = "pip install adversarial-robustness-toolbox"


@dataclass(frozen=True)
class Toolbox(ThirdParty):
    """A class of ART; what it is built with is up to the attack."""

    modules: ClassVar[tuple[str, ...]] = ("art",)
    origin: ClassVar[str] = f"adversarial-robustness-toolbox {VERSION}"
    only_by_name: ClassVar[str] = "the code of the Adversarial Robustness Toolbox"
    library: ClassVar[str]
    """Class in art.attacks.evasion."""
    probabilities: ClassVar[bool] = False
    """Whether it is made for softmax outputs, not logits."""
    of_squares: ClassVar[bool] = False
    """Whether it fails on images that are not square."""

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """What the class is built with for images of `shape` (channels, height, width)."""
        raise NotImplementedError

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """ART is missing, or the images are not square."""
        if not VERSION:
            return f"needs the Adversarial Robustness Toolbox: {INSTALL}"
        if self.of_squares and shape[1] != shape[2]:
            return f"needs square images, these are {shape[1]}x{shape[2]}"
        return None

    def propose(
        self, model: nn.Module, images: Tensor, labels: Tensor, rng: torch.Generator
    ) -> Tensor:
        """What ART makes of a copy of the images; seeded once more, since its imports draw.

        ART refuses a radius of 0.
        """
        if getattr(self, "eps", None) == 0:
            return images
        classes, shape = count_classes(model, images), tuple(images.shape[1:])
        target = nn.Sequential(model, nn.Softmax(dim=1)) if self.probabilities else model
        classifier = import_module("art.estimators.classification").PyTorchClassifier(
            target, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0),
            device_type="cpu" if images.device.type == "cpu" else "gpu",
        )  # fmt: skip
        library = getattr(import_module("art.attacks.evasion"), self.library)
        attack = library(classifier, verbose=False, **self.settings(shape))
        answers = one_hot(labels, classes).cpu().numpy()
        with global_state(rng):
            found = self.run(attack, images.cpu().numpy().copy(), answers)
        return torch.from_numpy(found).to(images)

    def run(self, attack: Any, images: Any, labels: Any) -> Any:
        """Arrays in, an array out; labels are one-hot, (n, classes)."""
        return attack.generate(images, labels)


def offer(attack: type[Toolbox], planned: bool = False) -> None:
    """Register an attack; where ART is missing, say how to install it.

    One that a suite names can be `planned` then all the same, and ends skipped with the reason.
    """
    if VERSION:
        ATTACKS.register(attack)
        return
    ATTACKS.refuse(attack.name, INSTALL)
    if planned:
        ATTACKS.give(attack.name, attack)


@dataclass(frozen=True)
class ProjectedGradient(Toolbox):
    """PGD from a random start (Madry et al. 2018), the last iterate."""

    name: ClassVar[str] = "art_pgd"
    family: ClassVar[Family] = "linf-gradient"
    norm: ClassVar[str] = "linf"
    library: ClassVar[str] = "ProjectedGradientDescent"
    eps: float
    steps: int = 40

    @property
    def passes(self) -> int:
        """Forward and backward for each step."""
        return 2 * self.steps

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`."""
        return {
            "eps": self.eps, "eps_step": madry_step(self.eps, self.steps), "max_iter": self.steps,
            "num_random_init": 1, "batch_size": 128,
        }  # fmt: skip


@dataclass(frozen=True)
class Square(Toolbox):
    """Square (Andriushchenko et al. 2020, arXiv 1912.00049): random squares, no gradient."""

    name: ClassVar[str] = "art_square"
    family: ClassVar[Family] = "score-based"
    norm: ClassVar[str] = "linf"
    library: ClassVar[str] = "SquareAttack"
    of_squares: ClassVar[bool] = True
    eps: float
    queries: int = 5000

    @property
    def passes(self) -> int:
        """ART asks twice, for the verdict and for the margin."""
        return 2 * self.queries

    def settings(self, shape: tuple[int, ...]) -> Mapping[str, Any]:
        """See `Toolbox`."""
        return {"eps": self.eps, "max_iter": self.queries}


for attack in (ProjectedGradient, Square):
    offer(attack)
