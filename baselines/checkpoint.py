"""A network that somebody else trained, from a file of weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args

import torch
from torch import nn

from baselines import DEFENSES
from baselines.networks.weights import archive_kind, fit_weights, hash_of_file, load_weights
from baselines.networks.zoo import check_network
from benchmark.core.errors import UsageError, describe, unknown
from benchmark.core.schema import About
from benchmark.core.types import Attack, Defense, Family, Progress, Split, Trained


@DEFENSES.register
@dataclass(frozen=True)
class Checkpoint(Defense):
    """The weights in the file `path`, for its own `network` or the one named by --network.

    `trained_on` declares the families its training used, joined by `+` (`linf-gradient+noise`);
    `none` for clean images only. What nobody declares stays unknown.
    """

    name: ClassVar[str] = "checkpoint"
    about: ClassVar[About] = About(title="Checkpoint", summary="weights that somebody else trained")
    trains: ClassVar[bool] = False
    path: str
    trained_on: str = "unknown"
    network: str = ""
    """The architecture, if it is not that of --network: see there."""

    def __post_init__(self) -> None:
        """Refuse a family or a network nobody knows before anything runs."""
        families_of(self.trained_on)
        if self.brings_network:
            if self.network:
                raise UsageError(f"{self.path} is a program with its network; drop network=...")
            object.__setattr__(self, "network", self.file.name)
        elif self.network:
            check_network(self.network)

    @property
    def file(self) -> Path:
        """Where it is."""
        return Path(self.path).expanduser()

    @property
    def brings_network(self) -> bool:  # type: ignore[override]
        """Whether the file is TorchScript, which cannot adapt."""
        return archive_kind(self.file) == "TorchScript"

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...] | None:
        """Unknown: a declaration names families, not attacks."""
        return None

    def families(self, strengths: Mapping[str, Any]) -> frozenset[str] | None:
        """What was declared."""
        return families_of(self.trained_on)

    def content(self) -> str:
        """Hash of the file."""
        return hash_of_file(self.file)

    def make_network(self) -> nn.Module:
        """See `Defense`; UsageError if the program cannot be loaded."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # that TorchScript is deprecated
                model: nn.Module = torch.jit.load(str(self.file), "cpu")  # type: ignore[no-untyped-call]
        except Exception as error:
            raise UsageError(f"cannot read {self.path} ({describe(error)[:200]})") from None
        return model.eval()

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """Load the weights; nothing is trained.

        Raises:
            UsageError: the file cannot be read safely or does not fit the network.
        """
        known = families_of(self.trained_on)
        if self.brings_network:
            return Trained(self.make_network(), known)
        weights = load_weights(self.file)
        try:
            fit_weights(network, weights)
        except UsageError as error:
            raise UsageError(f"{self.file}: {error}") from None
        progress(1.0)
        return Trained(network.eval(), known)


def families_of(declared: str) -> frozenset[str] | None:
    """The families in a declaration; None where they are unknown.

    >>> sorted(families_of("linf-gradient+noise"))
    ['linf-gradient', 'noise']
    >>> families_of("none"), families_of("unknown")
    (frozenset(), None)
    """
    if declared == "unknown":
        return None
    families = frozenset() if declared == "none" else frozenset(declared.split("+"))
    for family in sorted(families):
        if family not in get_args(Family):
            raise unknown("family in trained_on", family, (*get_args(Family), "none", "unknown"))
    return families
