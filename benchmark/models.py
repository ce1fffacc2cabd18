"""Trained models: made once for a data set, network, defense and seed, then read from disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from attacks.strengths import strengths_of
from baselines import step_sizes
from baselines.networks import build_network
from baselines.warm_start import fit_from, start_of
from benchmark import evaluation, fingerprint
from benchmark.claims import alone
from benchmark.core import store
from benchmark.core.course import Course
from benchmark.core.errors import AuditError
from benchmark.core.records import Cell, Effort, short_hash
from benchmark.core.seeding import global_state, stream
from benchmark.core.settings import kept
from benchmark.core.types import Batch, Defense, Trained
from benchmark.data import Dataset
from benchmark.place import Place, Watch
from benchmark.precision import difference, in_precision
from benchmark.probing import probe

LOOKED_AT = 100
"""Validation images on which a new model is looked at."""


class Model(NamedTuple):
    """A trained model, ready to be evaluated and never to be written to."""

    network: nn.Module
    searched: nn.Module
    """The network as attacks ask it: itself, or in low precision."""
    trained_on: frozenset[str] | None
    hash: str
    """Of weights and buffers."""
    training: str
    """Of everything training depended on, and of the code the weights run through."""
    flags: list[str]
    cost: Effort = Effort()
    """Of training, what it started from included."""
    probes: Mapping[str, float | None] = {}
    """See `Trained.probes`."""
    gradient: bool = True
    """Whether its logits depend differentiably on the images."""


def trained_model(
    cell: Cell, defense: Defense, dataset: Dataset, place: Place, watch: Watch
) -> Model:
    """Read the model of a cell from the results folder, or train it and keep it there.

    Raises:
        AuditError: training diverged, or the model's answers are not finite, or no logits.
        UsageError: weights or a model brought along are not what they should be.
    """
    trained = _trained(cell, defense, dataset, place, watch)
    few = dataset.validation.first(LOOKED_AT).batch().to(place.device)
    model = evaluation.frozen(complete(trained.model, few))
    model.to(place.device)
    probed = probe(model, few, dataset.classes)
    searched = in_precision(model, place.precision)
    flags = [*probed.flags, *difference(searched, few)]
    training = training_hash(cell, defense, dataset, place.device)
    return Model(
        model, searched, trained.trained_on, evaluation.state_hash(model), training, flags,
        trained.cost, dict(trained.probes), probed.gradient,
    )  # fmt: skip


def complete(model: nn.Module, batch: Batch) -> nn.Module:
    """The model, with the weights that lazy layers make when they are first asked."""
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        model.eval()
        with global_state(stream("lazy layers")), torch.no_grad():
            model(batch.images[:2])
    return model


def _trained(cell: Cell, defense: Defense, dataset: Dataset, place: Place, watch: Watch) -> Trained:
    """From the folder, or trained now, what it starts from first: one lock inside the other."""
    rng = stream("network", cell.network, cell.dataset, cell.seed)
    network = build_network(cell.network, dataset.shape, dataset.classes, rng)
    training = training_hash(cell, defense, dataset, place.device)
    stem = store.slug(f"{cell.dataset}-{cell.network}-{cell.defense}-s{cell.seed}")
    path = place.results / "models" / f"{stem}-{training}.safetensors"
    trained = _restore(path, network)
    if trained is None:
        store.check_writable(place.results)  # better said now than after hours of training
        with alone(place.results, path.stem, watch.note, f"training {cell.defense}"):
            trained = _restore(path, network)  # what the other run has trained by now
            if trained is None:
                begun = path.with_suffix(".training.safetensors")
                trained = _fit(
                    cell, defense, network.to(place.device), dataset, place, watch, begun
                )
                if trained.model is network:  # a model brought along stays with its owner
                    _save(path, trained)
                begun.unlink(missing_ok=True)
    return trained


def _fit(
    cell: Cell, defense: Defense, network: nn.Module, dataset: Dataset, place: Place, watch: Watch,
    begun: Path,
) -> Trained:  # fmt: skip
    def fit(network: nn.Module) -> Trained:
        told = watch.training(f"{cell.defense} on {cell.dataset}, seed {cell.seed}")
        progress = Course(told, begun)
        rng = stream("train", cell.dataset, cell.network, cell.defense, cell.seed)
        with defense.brought.entered() if defense.brought else kept():
            trained = defense.fit(network, dataset.train, strengths_of(cell.dataset), progress, rng)
        progress(1.0)
        return trained

    found = start_of(defense)
    start = found and _trained(starting(cell, found[0]), found[1], dataset, place, watch)
    return fit_from(start, network, fit)


def starting(cell: Cell, defense: str) -> Cell:
    """The cell of the defense that this one's training starts from."""
    return cell.model_copy(update={"defense": defense})


def _save(path: Path, trained: Trained) -> None:
    known = None if trained.trained_on is None else sorted(trained.trained_on)
    notes = {
        "trained_on": json.dumps(known),
        "cost": trained.cost.model_dump_json(),
        "probes": json.dumps(dict(trained.probes)),
    }
    store.write_weights(path, trained.model.state_dict(), notes)


def _restore(path: Path, network: nn.Module) -> Trained | None:
    saved = store.read_weights(path)
    if saved is None:
        return None
    step_sizes.load(network, saved.tensors)
    families = json.loads(saved.notes["trained_on"])
    known = None if families is None else frozenset(families)
    cost = Effort.model_validate_json(saved.notes["cost"])
    return Trained(network, known, cost, json.loads(saved.notes["probes"]))


def training_hash(cell: Cell, defense: Defense, dataset: Dataset, device: str) -> str:
    """Changes with whatever training depends on: options, attacks, data, files, code, device.

    And with all of that for the defense it starts from.
    """
    used = defense.training_attacks(strengths_of(cell.dataset)) or ()
    start = start_of(defense)
    begun = training_hash(starting(cell, start[0]), start[1], dataset, device) if start else ""
    return short_hash(
        cell.defense, cell.network, cell.seed, torch.device(device).type,
        fingerprint.options_of_instance(defense),
        *map(repr, used), *map(fingerprint.source_hash, used),
        dataset.hash, defense.content(), defense.brought and defense.brought.code, begun,
        fingerprint.source_hash(defense, "benchmark.models"),
    )  # fmt: skip


def is_spoiled(model: Model) -> bool:
    """Whether weights, buffers or eval mode are not as they were."""
    modes = any(module.training for module in model.network.modules())
    return modes or evaluation.state_hash(model.network) != model.hash


def check_untouched(model: Model) -> str:
    """State hash now; AuditError if a cell wrote to the trained model it shares with others."""
    if is_spoiled(model):
        raise AuditError("the trained model changed while a cell was evaluated")
    return evaluation.state_hash(model.network)
