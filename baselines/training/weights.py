"""Weights from files: tensors only. A pickle that wants to run code is refused, never executed."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.networks.zoo import Normalised
from benchmark.adaptation.step_sizes import attach, missized, parted
from benchmark.core.errors import UsageError

_WRAPPERS = ("state_dict", "model_state_dict", "model")


def load_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a `torch.save` file of plain tensors, on the CPU.

    A `state_dict` entry is unwrapped and the `module.` that DataParallel puts in front removed.

    Raises:
        UsageError: no such file, or anything in it is not a tensor (it is not executed).
    """
    if not path.is_file():
        raise UsageError(f"no checkpoint {path}; expected a .safetensors, .pt or .pth file")
    table = _read(path)
    for wrapper in _WRAPPERS:
        if isinstance(table, Mapping) and isinstance(table.get(wrapper), Mapping):
            table = table[wrapper]
    if not isinstance(table, Mapping) or not table:
        raise UsageError(f"{path}: expected named tensors, got {type(table).__name__}")
    for name, value in table.items():
        if not isinstance(value, Tensor):
            raise UsageError(
                f"{path}: expected tensors only, got {type(value).__name__} under {name!r}"
            )
    return {str(name).removeprefix("module."): value for name, value in table.items()}


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

    Weights that others trained know nothing of our normalisation: they go into the network
    behind it. Only the batch counters of old batch norm may be missing, and learned step sizes
    come along.

    Raises:
        UsageError: a name or a shape does not match; says which and how many.
    """
    sizes, weights = parted(weights)
    ours = any(name.startswith("network.") for name in weights)
    target = model.network if isinstance(model, Normalised) and not ours else model
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
            "name the network they were trained for with --network"
        )
    target.load_state_dict(weights, strict=False)
    attach(model, sizes)


def _some(kind: str, names: Iterable[str]) -> str:
    """`3 missing (first: conv1.bias)`."""
    ordered = sorted(names)
    return f"{len(ordered)} {kind} (first: {ordered[0]})"
