"""Learned inner step sizes (Meta-SGD, Li et al. 2017), kept with the weights they belong to.

They are buffers of the model, named apart: whatever saves, copies, moves or hashes the model does
so with them, its answers do not change, and an ordinary network has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from benchmark.results.weights import misfit

PREFIX = "step_sizes/"
"""Before the name of the parameter; its dots become slashes."""


def attach(model: nn.Module, sizes: Mapping[str, Tensor]) -> None:
    """Give `model` a step size for each number of these parameters, in place of what it has."""
    for name in step_sizes(model):
        delattr(model, _buffer(name))
    for name, tensor in sizes.items():
        model.register_buffer(_buffer(name), tensor.detach().clone())


def step_sizes(model: nn.Module) -> dict[str, Tensor]:
    """What `attach` gave, by name of the parameter; empty for an ordinary model."""
    return parted(dict(model.named_buffers(recurse=False))).sizes


class Parted(NamedTuple):
    """The tensors of a model file: the step sizes by name of the parameter, and the others."""

    sizes: dict[str, Tensor]
    others: dict[str, Tensor]


def parted(tensors: Mapping[str, Tensor]) -> Parted:
    """Step sizes apart from weights and buffers."""
    found = Parted({}, {})
    for name, tensor in tensors.items():
        if name.startswith(PREFIX):
            found.sizes[name.removeprefix(PREFIX).replace("/", ".")] = tensor
        else:
            found.others[name] = tensor
    return found


def load(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """`load_state_dict` for tensors that may bring step sizes along.

    Raises:
        ValueError: a name, shape or type does not fit; then the model is as it was.
    """
    sizes, others = parted(tensors)
    wrong = misfit(others, parted(model.state_dict()).others) or missized(model, sizes)
    if wrong:
        raise ValueError(wrong)
    attach(model, sizes)
    model.load_state_dict(tensors)


def missized(model: nn.Module, sizes: Mapping[str, Tensor]) -> str | None:
    """What keeps step sizes from being those of a model's parameters; None if nothing."""
    known = dict(model.named_parameters())
    return misfit(sizes, {name: known[name] for name in sizes.keys() & known.keys()})


def _buffer(name: str) -> str:
    return PREFIX + name.replace(".", "/")
