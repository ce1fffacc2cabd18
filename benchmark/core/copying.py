"""Copies of models, whatever they hold: every evaluation works on one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy, deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmark.core.errors import AuditError

NOTHING: Mapping[int, Tensor] = {}


class _Results(TorchFunctionMode):
    """Lets `deepcopy` copy tensors that were computed, by their values.

    Models keep features of a past batch, or weights made of others: torch copies leaves alone.
    """

    def __torch_function__(
        self, function: Any, kinds: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """See `TorchFunctionMode`."""
        if function is not Tensor.__deepcopy__:
            return function(*args, **(kwargs or {}))
        tensor, memo = args
        while torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # left there by a vmap
            tensor = torch._C._functorch.get_unwrapped(tensor)
        if tensor is args[0] and tensor.is_leaf:
            return tensor.__deepcopy__(memo)
        with torch.no_grad():
            return memo.setdefault(id(args[0]), tensor.detach().clone())


def copied(model: nn.Module, instead: Mapping[int, Tensor] = NOTHING) -> nn.Module:
    """A copy that shares no tensor with `model`; what cannot be copied (a lock, a file) is shared.

    `instead`: what the copy holds where `model` holds the tensor with this `id`.

    Raises:
        AuditError: even so it cannot be copied; says why.
    """
    with _Results(), torch.no_grad():  # TorchScript copies what it computes, not leaves
        try:
            return deepcopy(model, dict(instead))
        except Exception:
            shared = {**instead, **{id(value): value for value in _uncopyable(model)}}
        try:
            return deepcopy(model, shared)
        except Exception as error:
            raise AuditError(
                f"the model cannot be copied ({type(error).__name__}: {error}); expected one that "
                "copy.deepcopy takes"
            ) from error


def _uncopyable(model: nn.Module) -> Iterator[object]:
    for module in model.modules():
        for value in vars(module).values():
            if value is not module._modules and not isinstance(value, nn.Module):
                try:
                    deepcopy(value)
                except Exception:
                    yield value


def bare(model: nn.Module) -> nn.Module:
    """Without what only spreads a model over devices, or compiles it: the same answers."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif _is_compiled(model):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            break
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if child is not None and _is_compiled(child):
                module._modules[name] = bare(child)
    return model


def _is_compiled(module: nn.Module) -> bool:
    """What `torch.compile` made; its class is not imported, which would take a second."""
    kind = type(module)
    return (kind.__module__, kind.__name__) == ("torch._dynamo.eval_frame", "OptimizedModule")


def apart(model: nn.Module) -> None:
    """Give a module that stands under several names a twin at each: parameters stay shared.

    `functional_call` knows parameters under several names; modules it leaves with the values of
    the call, since it puts back what it met at the second name.
    """
    seen: set[int] = set()

    def walk(module: nn.Module) -> None:
        for name, child in module._modules.items():
            if child is not None:
                own = _twin(child) if id(child) in seen else child
                module._modules[name] = own
                seen.add(id(own))
                walk(own)

    walk(model)


def _twin(module: nn.Module) -> nn.Module:
    twin = copy(module)
    for kind in ("_parameters", "_buffers", "_modules"):
        vars(twin)[kind] = copy(vars(module)[kind])
    return twin
