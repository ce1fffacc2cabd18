"""Models of libraries and of the hub: `torchvision:NAME`, `timm:NAME`, `hf:USER/REPO`, `hf:DIR`.

Each is written as a name of two parts; behind them stand three components whose option `model` is
the second part. No list and no wildcard has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from baselines import DEFENSES
from baselines.networks.weights import fit_weights, hash_of_file, load_weights
from baselines.networks.zoo import Normalise, Normalised, check_network
from benchmark.core.errors import UsageError, describe
from benchmark.core.types import Attack, Defense, Progress, Split, Trained
from benchmark.data.hub import fetched

DOWNLOAD = "download"
FILES = ("model.safetensors", "pytorch_model.bin")
"""Weights in a folder of the hub's form, the better ones first."""


@dataclass(frozen=True)
class LibraryModel(Defense):
    """A network of a library, built for the data, with weights somebody has.

    Without `weights` they are random; `weights=download` are the library's own, and fit only where
    the data has as many classes.
    """

    trains: ClassVar[bool] = False
    model: str
    weights: str = ""
    network: str = ""

    def __post_init__(self) -> None:
        """Refuse a network that is not there before anything runs."""
        object.__setattr__(self, "network", self.network or f"{self.name}:{self.model}")
        check_network(self.network)

    def training_attacks(self, strengths: Mapping[str, Any]) -> tuple[Attack, ...] | None:
        """Unknown."""
        return None

    def content(self) -> str:
        """Hash of the file of weights, or what else stands for them."""
        return hash_of_file(Path(self.weights).expanduser()) or self.weights

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """Load the weights; nothing is trained.

        Raises:
            UsageError: they cannot be had, or do not fit the network.
        """
        if self.weights:
            path = Path(self.weights).expanduser()
            weights = self.downloaded() if self.weights == DOWNLOAD else load_weights(path)
            try:
                fit_weights(network, weights)
            except UsageError as error:
                raise UsageError(f"{self.network}: {error}") from None
        progress(1.0)
        return Trained(network.eval(), None)

    def downloaded(self) -> dict[str, Tensor]:
        """The library's own weights; UsageError if they cannot be had."""
        try:
            return self.fetch()
        except Exception as error:  # no network, no such weights
            raise UsageError(
                f"{self.network}[weights=download]: cannot be had ({describe(error)[:200]})"
            ) from None

    def fetch(self) -> dict[str, Tensor]:
        """See `downloaded`; raises anything."""
        raise NotImplementedError


@dataclass(frozen=True)
class TorchvisionModel(LibraryModel):
    """A network of torchvision."""

    name: ClassVar[str] = "torchvision"

    def fetch(self) -> dict[str, Tensor]:
        """See `LibraryModel`."""
        from torchvision.models import get_model_weights

        return dict(get_model_weights(self.model).DEFAULT.get_state_dict(progress=False))


@dataclass(frozen=True)
class TimmModel(LibraryModel):
    """A network of timm."""

    name: ClassVar[str] = "timm"

    def fetch(self) -> dict[str, Tensor]:
        """See `LibraryModel`."""
        import timm

        return dict(timm.create_model(self.model, pretrained=True).state_dict())


@dataclass(frozen=True)
class HubModel(LibraryModel):
    """A model of the hub, or a folder in its form: config.json of timm, and weights.

    `network` names the architecture where config.json does not.
    """

    name: ClassVar[str] = "hf"

    def __post_init__(self) -> None:
        """Fetch what is not here, and read how the network is made."""
        folder = self.folder()
        config = _config(folder, self.model)
        network = self.network or f"timm:{config.get('architecture', '')}"
        if network == "timm:":
            raise UsageError(
                f"hf:{self.model}: its config.json names no architecture of timm; expected "
                f"hf:{self.model}[network=path/to/file.py:Class]"
            )
        weights = next((folder / file for file in FILES if (folder / file).is_file()), None)
        if weights is None:
            raise UsageError(f"hf:{self.model}: no weights; expected {' or '.join(FILES)}")
        object.__setattr__(self, "network", network)
        object.__setattr__(self, "weights", str(weights))
        check_network(network)

    def folder(self) -> Path:
        """Where its files are."""
        folder = Path(self.model).expanduser()
        known = ["config.json", *FILES]
        return folder if folder.is_dir() else fetched(self.model, "model", known)

    def fit(
        self, network: nn.Module, train_split: Split, strengths: Mapping[str, Any],
        progress: Progress, rng: torch.Generator,
    ) -> Trained:  # fmt: skip
        """See `LibraryModel`; the normalisation is that of config.json."""
        config = _config(self.folder(), self.model)
        known = config.get("pretrained_cfg") or config
        mean, std = (tuple(map(float, known.get(key) or ())) for key in ("mean", "std"))
        if mean and std and isinstance(network, Normalised):
            network.normalise = Normalise(mean, std)
        return super().fit(network, train_split, strengths, progress, rng)


def _config(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"hf:{name}: no config.json to be read ({describe(error)})") from None
    if not isinstance(found, dict):
        raise UsageError(f"hf:{name}: config.json: expected an object, got {type(found).__name__}")
    return found


for _component in (TorchvisionModel, TimmModel, HubModel):
    DEFENSES.give(_component.name, _component)
