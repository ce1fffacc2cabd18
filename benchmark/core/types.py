"""The nouns of the project: batch, threat, attack, defense.

Shapes and units everywhere: `images` float32 (batch, channels, height, width) in [0, 1];
`labels` int64 (batch,); `logits` (batch, classes); `eps` in units of [0, 1]. Normalisation
lives inside the network. `rng` is always the last argument and always passed: a stream per image
(`Streams`) for an attack, a torch.Generator for the rest.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from benchmark.core.images import Batch, Shape, Split
from benchmark.core.schema import About, Effort
from benchmark.core.streams import Streams

__all__ = [
    "Attack", "AttackerKnowledge", "Batch", "Brought", "Defense", "Family", "Goal", "NormBall",
    "Progress", "Scales", "Shape", "Split", "Surrogate", "Threat", "Trained", "distance",
]  # fmt: skip

Family = Literal[
    "linf-gradient", "l2-gradient", "l1-gradient", "sparse", "score-based", "decision-based",
    "spatial", "colour", "frequency", "corruption", "patch", "noise", "transfer",
]  # fmt: skip

Goal = Literal["examples", "verdict"]
"""Why an attack runs.

`examples`: the images will be kept, shown or transferred, so every image gets the strongest
example the attack finds. `verdict`: only whether an image can be broken matters, so an attack may
stop at an image's first success: stored, that would transfer badly and inflate `static@K`. Both
goals must break the same images.
"""

Progress = Callable[[float], None]
"""Called with the share of a long job that is done, in [0, 1]. `Defense.fit` is handed one that
also keeps the training: `baselines.training.resumable_progress`."""


Scales = Mapping[str, tuple[float, float]]
"""Two factors by name of an option."""


class Surrogate(NamedTuple):
    """A model that an attacker trains, on clean images, to attack it in place of the target."""

    other: bool = False
    """Whether it is of another architecture than the model that is attacked."""


class AttackerKnowledge(NamedTuple):
    """What an attacker has besides the model: nothing of the images that are scored."""

    images: Batch
    """Training images, `Attack.own_images` of them."""
    surrogates: tuple[nn.Module, ...]
    """Trained models, in eval mode, in the order of `Attack.surrogates`."""


class Threat(ABC):
    """What an attacker may do to an image."""

    norm: str

    @abstractmethod
    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """Which perturbed images the threat allows: bool (batch,), float32 rounding forgiven."""

    @abstractmethod
    def __str__(self) -> str:
        """Norm and size in one short phrase, e.g. `linf 0.1`."""


def distance(images: Tensor, perturbed: Tensor, norm: str) -> Tensor:
    """How far each image moved, float64 (batch,). L0 counts pixels, whatever their channels."""
    delta = (perturbed.double() - images.double()).abs()
    if norm == "l0":
        return (delta.amax(dim=1) > 0).flatten(1).sum(dim=1).double()
    flat = delta.flatten(1)
    if norm == "linf":
        return flat.amax(dim=1)
    return flat.sum(dim=1) if norm == "l1" else flat.square().sum(dim=1).sqrt()


@dataclass(frozen=True)
class NormBall(Threat):
    """All images within `eps` of the original in a norm: linf, l2, l1 or l0 (pixels)."""

    norm: str
    eps: float

    def inside(self, images: Tensor, perturbed: Tensor) -> Tensor:
        """See `Threat.inside`; the slack is what float32 sums of a few thousand pixels round by."""
        slack = 0.0 if self.norm == "l0" else 1e-6 + 1e-5 * self.eps
        return distance(images, perturbed, self.norm) <= self.eps + slack

    def __str__(self) -> str:
        return f"{self.norm} {self.eps:.4g}"


class Attack(ABC):
    """One row of the matrix. Subclasses are frozen dataclasses whose fields are the options."""

    name: ClassVar[str]
    family: ClassVar[Family]
    norm: ClassVar[str]
    """Also the table of strengths.toml that fills options nobody gave."""
    version: ClassVar[int] = 1
    """Another number when what the attack does has changed: then its records are made again."""
    origin: ClassVar[str] = "reattack"
    minimum_norm: ClassVar[bool] = False
    """Whether it seeks the smallest perturbation, however large: judged by `threat`, not failed."""
    modules: ClassVar[tuple[str, ...]] = ()
    """Installed packages the attack needs beyond our own."""
    only_by_name: ClassVar[str] = ""
    """Why `--attacks all`, `unseen` and `family:NAME` leave it out; it runs where it is named, or
    matched by a wildcard."""
    by_rows: ClassVar[bool] = False
    """Whether `perturb` asks the model through `select_rows` (`benchmark.core.model_access`), as
    `Search` does: then many adapted models can be attacked in one batch."""
    by_image: ClassVar[bool] = False
    """Whether what becomes of an image depends on itself and its stream alone, whoever shares its
    batch: then `--reattack standing` may leave the others out."""
    by_place: ClassVar[bool] = False
    """Whether random numbers are dealt to the places of a batch, whoever is broken there: then it
    meets all images, but is asked nothing of those that are `Settled`
    (`benchmark.core.model_access`)."""
    inexact: ClassVar[str] = ""
    """Why a gradient attack with steps need not find the optimum of a linear model; contracts
    hold every other one to it."""

    white_box: ClassVar[bool] = False
    """Whether an attack outside the gradient families asks for gradients all the same."""
    own_images: int = 0
    """How many training images the attacker learns from."""
    surrogates: ClassVar[tuple[Surrogate, ...]] = ()
    """Models that the attacker trains for itself."""
    knowledge: AttackerKnowledge | None = None
    """Both, set before `perturb` is asked; None where the attack needs neither."""
    low_and_high: ClassVar[Scales] = {"eps": (0.5, 2.0)}
    """By option that says how strong it is: what `strength=low` and `strength=high` multiply."""
    by_rule: bool = False
    """Whether its strength comes from a rule, since nobody said one: set by `attacks.build`."""

    def knowing(self, knowledge: AttackerKnowledge) -> Self:
        """The same attack with what it asks for."""
        made = copy(self)
        object.__setattr__(made, "knowledge", knowledge)  # attacks are frozen
        return made

    @property
    def needs_knowledge(self) -> bool:
        """Whether it can do nothing with the model alone."""
        return bool(self.own_images or self.surrogates)

    @property
    def needs_gradient(self) -> bool:
        """Whether it can do nothing to a model that gives none."""
        return self.white_box or self.family.endswith("-gradient")

    @property
    @abstractmethod
    def threat(self) -> Threat:
        """What the result must stay within."""

    @property
    @abstractmethod
    def passes(self) -> int:
        """Passes through the network one image can cost, backward ones counted: for estimates."""

    def cannot_run(self, shape: tuple[int, ...], classes: int) -> str | None:
        """Why the attack cannot run on images (channels, height, width) of so many classes."""
        return None

    @abstractmethod
    def perturb(
        self, model: nn.Module, images: Tensor, labels: Tensor, goal: Goal, rng: Streams
    ) -> Tensor:
        """Attacked images, same shape, dtype and device, inside [0, 1] and the threat.

        `model` is in eval mode and must not change. What is returned is only a proposal: the
        benchmark checks it and decides what counts (`benchmark.evaluation.verdicts`). `rng` holds a
        stream per image.
        """


class Trained(NamedTuple):
    """A model after training, in eval mode."""

    model: nn.Module
    trained_on: frozenset[str] | None
    """Families of the attacks that training really used; None when nobody knows."""
    cost: Effort = Effort()
    """What `fit` took; a model brought along took nothing that is known."""
    probes: Mapping[str, float | None] = {}
    """Numbers that training measured of itself, for the record."""

    def after(self, start: Trained) -> Trained:
        """The same, having started from `start`: what both used."""
        known = None
        if self.trained_on is not None and start.trained_on is not None:
            known = self.trained_on | start.trained_on
        probes = {**start.probes, **self.probes}
        return self._replace(trained_on=known, cost=start.cost + self.cost, probes=probes)


class Brought(NamedTuple):
    """What a defense from a user's own file comes with."""

    file: Path
    code: str
    """Hash of all code that the file reaches."""
    entered: Callable[[], AbstractContextManager[object]]
    """Where its code runs: global state is put back after it."""


class Defense(ABC):
    """One column of the matrix. Subclasses are frozen dataclasses whose fields are the options."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Another number when what `fit` does has changed: then its models are trained again."""
    trains: ClassVar[bool] = True
    """False for models that were trained elsewhere: they are looked at before anything runs."""
    network: str = ""
    """The network it brings, as `--network` takes it; none by default: that of the plan."""
    brings_network: bool = False
    """Whether it makes its network itself: then none is built for it."""
    start: str = ""
    """The defense whose weights training starts from, as the user writes it; none by default. It
    is trained first, once for all that start there: see `baselines.training.warm_start`."""
    about: ClassVar[About] = About()
    """What tables say of it: title, authors, year, paper, link, summary. For display alone."""
    brought: Brought | None = None
    """Set by `baselines.build`; None for those that are registered."""

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...] | None:
        """The attacks `fit` will use, for planning; None when unknown."""
        return ()

    def families(self, strengths: Mapping[str, Any]) -> frozenset[str] | None:
        """Families `fit` will train on, for planning; what it really used is in `Trained`.

        Those of `start` come on top: `baselines.training.warm_start.families`.
        """
        attacks = self.training_attacks(strengths)
        return None if attacks is None else frozenset(attack.family for attack in attacks)

    def adaptive_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...]:
        """Attacks that were made against this defense (Tramer et al. 2020, arXiv 2002.08347).

        They run with `--attacks all` or `adaptive`, against it alone.
        """
        return ()

    def make_network(self) -> nn.Module:
        """The network of one that brings its own."""
        raise NotImplementedError(f"{self.name} is given a network")

    def content(self) -> str:
        """What the model depends on beyond options and registered code: a hash of a file, say."""
        return ""

    @abstractmethod
    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """Train `network` on the images of `train_split`."""
