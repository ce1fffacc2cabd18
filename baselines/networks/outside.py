"""Networks from elsewhere: `torchvision:NAME`, `timm:NAME`, or a class in `path/to/file.py:NAME`.

Those of the two libraries are built for the images and classes of the data, behind their own
normalisation; one of the user's normalises inside itself, as every model here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.core.errors import UsageError, describe, unknown
from benchmark.core.types import Shape
from benchmark.identity.user_file import Home, named_in

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation that networks of torchvision were trained with."""
LIBRARIES = ("torchvision", "timm")
Statistics = tuple[tuple[float, ...], tuple[float, ...]]
_read: dict[str, tuple[Any, Home]] = {}
"""What names of networks in files of the user's stand for."""


class Colour(nn.Module):
    """A network for three channels that is shown grey images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images (batch, 1, height, width)."""
        logits: Tensor = self.network(images.expand(-1, 3, -1, -1))
        return logits


def is_outside(name: str) -> bool:
    """Whether a network is not one of ours."""
    return ":" in name


def check_outside(name: str) -> None:
    """Raise UsageError for a network that is not there, before anything runs.

    A file of the user's is read here, anew; what is asked of it later is what was read then.
    """
    library, _, model = name.partition(":")
    if _file_of(name):
        _read.pop(name, None)
        _of_user(name)
    elif library not in LIBRARIES:
        raise unknown("source of networks", library, (*LIBRARIES, "path/to/file.py"))
    elif model not in (known := _names(library)):
        raise unknown(f"network of {library}", model, known)


def build_outside(name: str, shape: Shape, classes: int) -> tuple[nn.Module, Statistics | None]:
    """A network, and the normalisation that belongs before it; None where it has its own.

    Raises:
        UsageError: no such network, or it cannot be made for images of this shape.
    """
    if not _file_of(name):
        check_outside(name)
    library, _, model = name.partition(":")
    makers: dict[str, Callable[..., tuple[nn.Module, Statistics]]] = {
        "torchvision": _torchvision, "timm": _timm
    }  # fmt: skip
    if library in makers:
        try:
            network, statistics = makers[library](model, shape, classes)
            with torch.no_grad():
                network.eval()(torch.zeros(1, *shape))
            return network.train(), statistics
        except Exception as error:  # each network has its own demands
            raise UsageError(
                f"network {name}: cannot be made for images of shape {shape} ({describe(error)})"
            ) from None
    found, home = _of_user(name)
    with home.entered():
        return _made(name, found), None


def code_of(name: str) -> str:
    """What a network is beyond its name: the code of a file, the version of a library."""
    if not is_outside(name):
        return ""
    library = name.partition(":")[0]
    return f"{library} {version(library)}" if library in LIBRARIES else _of_user(name)[1].code


def _file_of(name: str) -> str:
    """The user's file a network is in; empty if it is in none."""
    path = name.rpartition(":")[0]
    return path if path.endswith(".py") else ""


def _of_user(name: str) -> tuple[Any, Home]:
    """What the name stands for: executed once, so that its classes are the same everywhere."""
    if name not in _read:
        _read[name] = named_in(Path(_file_of(name)), name.rpartition(":")[2], "--network")
    return _read[name]


def _made(name: str, found: Any) -> nn.Module:
    try:
        network = copy.deepcopy(found) if isinstance(found, nn.Module) else found()
    except Exception as error:
        raise UsageError(
            f"network {name}: {describe(error)}; expected a class, or a function, that makes an "
            "nn.Module and needs no arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"network {name}: expected an nn.Module, got {type(network).__name__}")
    return network


def _names(library: str) -> list[str]:
    if library == "torchvision":
        from torchvision.models import list_models

        return [*list_models()]
    try:
        version("timm")
    except PackageNotFoundError:
        raise UsageError("networks of timm need it: pip install timm") from None
    import timm

    return [*timm.list_models()]


def _torchvision(name: str, shape: Shape, classes: int) -> tuple[nn.Module, Statistics]:
    from torchvision.models import get_model

    network: nn.Module = get_model(name, weights=None, num_classes=classes)
    mean, std = IMAGENET
    return (Colour(network), ((mean[1],), (std[1],))) if shape[0] == 1 else (network, IMAGENET)


def _timm(name: str, shape: Shape, classes: int) -> tuple[nn.Module, Statistics]:
    import timm

    words: dict[str, Any] = {"num_classes": classes, "in_chans": shape[0]}
    try:  # transformers are made for one size
        network = timm.create_model(name, img_size=shape[1:], **words)
    except TypeError:
        network = timm.create_model(name, **words)
    given: dict[str, Any] = getattr(network, "default_cfg", {})
    mean, std = tuple(given.get("mean", IMAGENET[0])), tuple(given.get("std", IMAGENET[1]))
    return network, (mean[: shape[0]], std[: shape[0]])
