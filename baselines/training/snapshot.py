"""What a training loop needs to go on where it was killed, bit for bit on a CPU."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from baselines.training.ledger import Ledger
from baselines.training.resumable_progress import ResumableProgress, Unusable
from benchmark.core.schema import Amount, Count, Frozen
from benchmark.results.weights import misfit

COUNTS = ("images", "updates")
METER = ("forwards", "backwards", "seconds")


class TrainingState(NamedTuple):
    """Everything that one step of a loop changes; restored in place."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    ledger: Ledger
    rng: torch.Generator
    more: Mapping[str, Tensor] = {}
    """Tensors that are neither in the model nor in the optimizer's state."""


class Counts(Frozen):
    """What a ledger has counted."""

    families: list[str]
    probes: dict[str, float | None]
    images: Count
    updates: Count
    forwards: Count
    backwards: Count
    seconds: Amount


def keep(resumable: ResumableProgress, state: TrainingState, notes: Mapping[str, Any]) -> None:
    """Write a snapshot, with `notes` of the loop: how many steps are done, say."""
    ledger = state.ledger
    tensors = {**_steady(state), **_named("optimizer/", _moments(state.optimizer))}
    tensors |= {**_named("memory/", ledger.memory), "rng": state.rng.get_state()}
    counts = {
        "families": sorted(ledger.families), "probes": ledger.probes,
        **{name: getattr(ledger, name) for name in COUNTS},
        **{name: getattr(ledger.meter, name) for name in METER},
    }  # fmt: skip
    resumable.keep(tensors, {"ledger": counts, **notes})


def restore(
    resumable: ResumableProgress, state: TrainingState, fresh: Mapping[str, Any]
) -> dict[str, Any]:
    """Bring everything to where the last snapshot was taken; returns its notes.

    Where there is none nothing is changed, and the notes are `fresh`: those of a loop's begin.

    Raises:
        Unusable: there is one, and it does not fit; then nothing was changed either.
    """
    found = resumable.last()
    if found is None:
        return dict(fresh)
    try:
        counts, notes = _checked(found.tensors, found.notes, state, fresh)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unusable(f"{resumable.file}: a snapshot that does not fit ({error})") from error
    _load(found.tensors, counts, state)
    return notes


def _checked(
    tensors: Mapping[str, Tensor],
    notes: Mapping[str, Any],
    state: TrainingState,
    fresh: Mapping[str, Any],
) -> tuple[Counts, dict[str, Any]]:
    """What a snapshot says in words; ValueError or KeyError if any part of it does not fit."""
    optional = ("optimizer/", "memory/", "rng")
    steady = {name: found for name, found in tensors.items() if not name.startswith(optional)}
    moments = _under("optimizer/", tensors)
    known = _moments(stepped(state.optimizer))
    begun = {name.partition("/")[0] for name in moments}
    expected = {name: one for name, one in known.items() if name.partition("/")[0] in begun}
    wrong = misfit(steady, _steady(state)) or misfit(moments, expected)
    wrong = wrong or misfit({"rng": tensors["rng"]}, {"rng": state.rng.get_state()})
    own = {name: value for name, value in notes.items() if name != "ledger"}
    if wrong or _kinds(own) != _kinds(dict(fresh)):
        raise ValueError(wrong or f"it notes {own}")
    return Counts.model_validate(notes["ledger"]), own


def _kinds(value: Any) -> Any:
    """Types, as deep as there are lists and dicts."""
    if isinstance(value, dict):
        return {key: _kinds(one) for key, one in value.items()}
    return [_kinds(one) for one in value] if isinstance(value, list) else type(value)


def _load(tensors: Mapping[str, Tensor], counts: Counts, state: TrainingState) -> None:
    state.model.load_state_dict(_under("model/", tensors))
    values: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer/", tensors).items():
        index, _, key = name.partition("/")
        values.setdefault(int(index), {})[key] = tensor
    state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": values})
    with torch.no_grad():
        for name, tensor in state.more.items():
            tensor.copy_(tensors[f"more/{name}"])
    state.rng.set_state(tensors["rng"])
    ledger = state.ledger
    ledger.memory.update(_under("memory/", tensors))
    ledger.families, ledger.probes = set(counts.families), dict(counts.probes)
    for name in COUNTS:
        setattr(ledger, name, getattr(counts, name))
    for name in METER:
        setattr(ledger.meter, name, getattr(counts, name))


def stepped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """A copy of an optimizer, of other parameters, after one step: it shows what one remembers."""
    other = copy.deepcopy(optimizer)
    for group in other.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    other.step()
    return other


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers, by number of the parameter and name."""
    return {
        f"{index}/{key}": value
        for index, values in optimizer.state_dict()["state"].items()
        for key, value in values.items()
        if isinstance(value, Tensor)
    }


def _steady(state: TrainingState) -> dict[str, Tensor]:
    """What a loop has from its begin on."""
    return {**_named("model/", state.model.state_dict()), **_named("more/", state.more)}


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
