"""What a training loop needs to go on where it was killed, bit for bit on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmark.core.course import Course

if TYPE_CHECKING:
    from baselines.training import Ledger

COUNTS = ("images", "updates")
METER = ("forwards", "backwards", "seconds")


class State(NamedTuple):
    """Everything that one step of a loop changes; restored in place."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ledger: Ledger
    rng: torch.Generator
    more: Mapping[str, Tensor] = {}
    """Tensors that are neither in the model nor in the optimizer's state."""


def keep(course: Course, state: State, notes: Mapping[str, Any]) -> None:
    """Write a snapshot, with `notes` of the loop: how many steps are done, say."""
    tensors = {f"model/{name}": tensor for name, tensor in state.model.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer/{index}/{key}": value
            for key, value in values.items()
            if isinstance(value, Tensor)
        }
    tensors |= {f"more/{name}": tensor for name, tensor in state.more.items()}
    tensors |= {f"memory/{name}": tensor for name, tensor in state.ledger.memory.items()}
    tensors["rng"] = state.rng.get_state()
    ledger = state.ledger
    counts = {
        "families": sorted(ledger.families), "probes": ledger.probes,
        **{name: getattr(ledger, name) for name in COUNTS},
        **{name: getattr(ledger.meter, name) for name in METER},
    }  # fmt: skip
    course.keep(tensors, {"ledger": counts, **notes})


def restore(course: Course, state: State) -> dict[str, Any] | None:
    """Bring everything to where the last snapshot was taken; returns its notes.

    None if there is none: then nothing was changed.
    """
    found = course.last()
    if found is None:
        return None
    state.model.load_state_dict(_under("model/", found.tensors))
    values: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer/", found.tensors).items():
        index, _, key = name.partition("/")
        values.setdefault(int(index), {})[key] = tensor
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": values})
    with torch.no_grad():
        for name, tensor in state.more.items():
            tensor.copy_(found.tensors[f"more/{name}"])
    state.rng.set_state(found.tensors["rng"])
    state.ledger.memory.update(_under("memory/", found.tensors))
    counts, ledger = found.notes["ledger"], state.ledger
    ledger.families, ledger.probes = set(counts["families"]), counts["probes"]
    for name in COUNTS:
        setattr(ledger, name, counts[name])
    for name in METER:
        setattr(ledger.meter, name, counts[name])
    return found.notes


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
