"""Weights from files: tensors only. A pickle that wants to run code is refused, never executed."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.networks.outside import Colour
from baselines.networks.zoo import Normalised
from benchmark.adaptation.step_sizes import attach, missized, parted
from benchmark.core.errors import UsageError

WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Entries that hold the weights, if several hold tensors."""
PREFIX = re.compile(r"^(?:module\.|_orig_mod\.|model\.)+")
"""What DataParallel, torch.compile and Lightning put before names."""


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a `torch.save` file of plain tensors, on the CPU.

    What is around them (an epoch, an optimizer) is left behind.

    Raises:
        UsageError: no such file, no tensors in it, or it would run code when loaded.
    """
    if not path.is_file():
        raise UsageError(f"no checkpoint {path}; expected a .safetensors, .pt or .pth file")
    if archive_kind(path) == "torch.export":
        raise UsageError(
            f"refused {path}: a program of torch.export, and loading one unpickles what could run "
            "code; save the weights: torch.save(model.state_dict(), 'weights.pt')"
        )
    return {str(name): value for name, value in _unwrapped(_read(path), path).items()}


def hash_of_file(path: Path) -> str:
    """16 hexadecimal digits of what a file holds; empty if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def archive_kind(path: Path) -> str:
    """`TorchScript` or `torch.export`, of a file with a program beside its weights; else empty."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return ""
    if any("/code/" in name for name in names) and any("constants.pkl" in name for name in names):
        return "TorchScript"
    exported = ("archive_format", "exported_program.json")
    return "torch.export" if any(name.endswith(exported) for name in names) else ""


def _unwrapped(table: Any, path: Path) -> Mapping[Any, Tensor]:
    """The one mapping of tensors, or the entry that is named like one."""
    if isinstance(table, Mapping) and table:
        if all(isinstance(value, Tensor) for value in table.values()):
            return table
        inside = {key: value for key, value in table.items() if _holds_tensors(value)}
        named = [name for name in WRAPPERS if name in inside]
        if len(inside) == 1 or named:
            return _unwrapped(inside[named[0]] if named else next(iter(inside.values())), path)
        if inside:
            raise UsageError(
                f"{path}: tensors under {', '.join(map(repr, inside))}; expected one of them: save "
                "that entry alone"
            )
    kinds = {type(value).__name__ for value in table.values()} if isinstance(table, Mapping) else ()
    raise UsageError(
        f"{path}: expected named tensors, got "
        f"{'a mapping of ' + ', '.join(sorted(kinds)) if kinds else type(table).__name__}"
    )


def _holds_tensors(value: Any) -> bool:
    """Whether a mapping is one of named tensors, or has one in it."""
    if not isinstance(value, Mapping) or not value:
        return False
    return any(
        isinstance(one, Tensor) if isinstance(key, str) else False for key, one in value.items()
    ) or any(_holds_tensors(one) for key, one in value.items() if key in WRAPPERS)


def without_prefix(weights: Mapping[str, Tensor], expected: Iterable[str]) -> dict[str, Tensor]:
    """The weights by the names that are expected, where all that is before those is a prefix."""
    wanted = set(expected)
    found = dict(weights)
    for _ in range(8):
        if wanted & found.keys() == wanted:
            return found
        stripped = {PREFIX.sub("", name, count=1): value for name, value in found.items()}
        first = {name.partition(".")[0] for name in found}
        if stripped.keys() == found.keys() and len(first) == 1:  # any one that all names share
            stripped = {name.partition(".")[2] or name: value for name, value in found.items()}
        if stripped.keys() == found.keys() or len(stripped) < len(found):
            break
        found = stripped
    return dict(weights)


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is said below, in one line
            return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"refused {path}: not plain tensors, and loading it could run code "
            f"({_first_line(error)}); where you trust it, convert it: "
            "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors')"
        ) from None
    except Exception as error:  # truncated, not a checkpoint at all, no permission
        raise UsageError(
            f"cannot read checkpoint {path} ({type(error).__name__}: {_first_line(error)}); "
            "expected a .safetensors file or one written by torch.save(model.state_dict(), ...)"
        ) from None


def _first_line(error: Exception) -> str:
    """What torch says is wrong, without its pages of advice to load it anyway."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith("WeightsUnpickler error:")]
    return (wrong or lines or [type(error).__name__])[0][:200]


def fit_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load `weights` into `model`, all of them and nothing else.

    Weights that others trained know nothing of our normalisation, or that grey images are shown to
    three channels: they go into the network behind that. Only the batch counters of old batch norm
    may be missing, and learned step sizes come along.

    Raises:
        UsageError: a name or a shape does not match; says which and how many.
    """
    sizes, weights = parted(weights)
    target, weights = _aimed(model, weights)
    expected = parted(target.state_dict()).others
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    wrong = [
        f"{name} is {tuple(weights[name].shape)}, expected {tuple(expected[name].shape)}"
        for name in expected.keys() & weights.keys()
        if weights[name].shape != expected[name].shape
    ]
    problems = {
        "missing": expected.keys() - weights.keys() - counters,
        "unexpected": weights.keys() - expected.keys(),
        "of another shape": wrong,
        "of step sizes": [misfit] if (misfit := missized(model, sizes)) else [],
    }
    found = [_some(kind, names) for kind, names in problems.items() if names]
    if found:
        raise UsageError(
            f"the weights do not fit {type(target).__name__}: {'; '.join(found)}; "
            "name the network they were trained for with --network, or checkpoint[network=...]"
        )
    target.load_state_dict(weights, strict=False)
    attach(model, sizes)


def _aimed(model: nn.Module, weights: Mapping[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    """What the weights are for, the model or the network inside what we put around; without prefix.

    Where neither has these names, whichever they look more like.
    """
    targets = [model]
    while isinstance(targets[-1], Normalised | Colour):
        targets.append(targets[-1].network)
    for target in targets:
        expected = [
            name for name in parted(target.state_dict()).others if "num_batches_tracked" not in name
        ]
        found = without_prefix(weights, expected)
        if found.keys() >= set(expected):
            return target, found
    ours = any(name.startswith("network.") for name in weights)
    return targets[0 if ours else -1], dict(weights)


def _some(kind: str, names: Iterable[str]) -> str:
    """`3 missing (first: conv1.bias)`."""
    ordered = sorted(names)
    return f"{len(ordered)} {kind} (first: {ordered[0]})"
