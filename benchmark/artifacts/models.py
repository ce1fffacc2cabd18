"""Trained models: made once for a data set, network, defense and seed, then read from disk."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from attacks.build import strengths_of
from baselines.networks.outside import code_of
from baselines.networks.zoo import build_network
from baselines.training.resumable_progress import ResumableProgress, Unusable
from baselines.training.warm_start import attack_names, fit_from, start_of
from benchmark.adaptation import step_sizes
from benchmark.artifacts.first_look import first_look
from benchmark.artifacts.locks import exclusive
from benchmark.artifacts.probe_answers import answers_of
from benchmark.artifacts.settings import ProgressListener, RunSettings
from benchmark.core.errors import AuditError, UsageError
from benchmark.core.isolation import kept
from benchmark.core.out_of_memory import halved
from benchmark.core.schema import Effort, Frozen, short_hash
from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Batch, Defense, Trained
from benchmark.data.splits import Dataset
from benchmark.evaluation import verdicts
from benchmark.evaluation.logits import check_device
from benchmark.evaluation.precision import difference, in_precision
from benchmark.evaluation.probe import probe
from benchmark.identity import fingerprint
from benchmark.results import store
from benchmark.results.answers import Answers
from benchmark.results.flags import Flag
from benchmark.results.records import Cell
from benchmark.results.weights import read_weights, write_weights

NEEDED = ("baselines.networks.zoo", "benchmark.data.splits", "benchmark.core.seeding")
"""What every training depends on, whatever a defense imports."""
LOOKED_AT, FEWEST, NUMBERS = 100, 8, 100 * 3 * 64 * 64
"""Validation images on which a new model is looked at: fewer of large ones, whose passes keep
gigabytes for the way back."""


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
    answers: Answers | None = None
    """On the probe images; None where it answers otherwise every time."""
    gradient: bool = True
    """Whether its logits depend differentiably on the images."""
    attacks: frozenset[str] | None = None
    """Names of those that training used; None: not known."""
    found: tuple[Flag, ...] = ()
    """What the first look found, whole; `flags` has it as text."""


def trained_model(
    cell: Cell,
    defense: Defense,
    dataset: Dataset,
    settings: RunSettings,
    listener: ProgressListener,
) -> Model:
    """Read the model of a cell from the results folder, or train it and keep it there.

    Raises:
        AuditError: training diverged, or the model's answers are not finite, or no logits.
        UsageError: weights or a model brought along are not what they should be.
    """
    trained = _trained(cell, defense, dataset, settings, listener)
    with kept():  # whatever it sets when it is asked
        found = _looked_at(trained, cell, defense, dataset, settings)
        if not defense.trains:
            for line in first_look(found.network, dataset, settings.device):
                listener.note(f"{cell.defense}: {line}")
    return found


def _looked_at(
    trained: Trained, cell: Cell, defense: Defense, dataset: Dataset, settings: RunSettings
) -> Model:
    affordable = max(FEWEST, NUMBERS // math.prod(dataset.shape))
    few = dataset.validation.first(min(LOOKED_AT, affordable)).batch().to(settings.device)
    check_device(trained.model, settings.device)
    model = verdicts.frozen(complete(trained.model, few))
    model.to(settings.device)
    rows = torch.arange(len(few.labels), device=few.labels.device)
    probed = next(halved([rows], lambda some: probe(model, few.take(some), dataset.classes)))
    answers = answers_of(model, dataset, settings.device)
    searched = in_precision(model, settings.precision)
    flags = [*map(str, probed.flags), *difference(searched, few)]
    training = training_hash(cell, defense, dataset, settings)
    strengths = strengths_of(dataset.name, dataset.shape, settings.strengths)
    return Model(
        model, searched, trained.trained_on, verdicts.state_hash(model), training, flags,
        trained.cost, _finite(trained.probes), answers, probed.gradient,
        attack_names(defense, strengths), tuple(probed.flags),
    )  # fmt: skip


def complete(model: nn.Module, batch: Batch) -> nn.Module:
    """The model, with the weights that lazy layers make when they are first asked."""
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        model.eval()
        with global_state(stream("lazy layers")), torch.no_grad():
            model(batch.images[:2])
    return model


def _trained(
    cell: Cell,
    defense: Defense,
    dataset: Dataset,
    settings: RunSettings,
    listener: ProgressListener,
) -> Trained:
    """From the folder, or trained now, what it starts from first: one lock inside the other."""
    path = model_file(settings.results, cell, training_hash(cell, defense, dataset, settings))
    trained = _restore(path, _network(cell, defense, dataset, settings), listener.note)
    if trained is None:
        store.check_writable(settings.results)  # better said now than after hours of training
        with exclusive(settings.results, path.stem, listener.note, f"training {cell.defense}"):
            network = _network(cell, defense, dataset, settings)
            trained = _restore(path, network)  # by now another run may have it
            trained = trained or _train(cell, defense, dataset, settings, listener, path)
    return trained


def model_file(results: Path, cell: Cell, training: str) -> Path:
    """Where the model of a cell is kept; `training` is the hash of all that it depends on."""
    stem = store.slug(f"{cell.dataset}-{cell.network}-{cell.defense}-s{cell.seed}")
    return results / "models" / f"{stem}-{training}.safetensors"


def _network(cell: Cell, defense: Defense, dataset: Dataset, settings: RunSettings) -> nn.Module:
    if defense.brings_network:
        return nn.Identity()
    rng = stream("network", cell.network, cell.dataset, cell.seed)
    return build_network(settings.own.network(cell), dataset.shape, dataset.classes, rng)


def _train(
    cell: Cell, defense: Defense, dataset: Dataset, settings: RunSettings,
    listener: ProgressListener, path: Path,
) -> Trained:  # fmt: skip
    """Train, and keep the model at `path`; from its snapshot, as long as that is of any use."""
    begun = path.with_suffix(".training.safetensors")
    resumes = begun.is_file()
    network = _network(cell, defense, dataset, settings).to(settings.device)
    try:
        trained = _fit(cell, defense, network, dataset, settings, listener, begun)
    except (AuditError, UsageError):
        raise
    except Exception as error:
        if not resumes:
            raise
        told = error if isinstance(error, Unusable) else f"{begun}: cannot go on from it ({error})"
        listener.note(f"{told}; trained from the beginning")
        begun.unlink(missing_ok=True)
        return _train(cell, defense, dataset, settings, listener, path)
    if trained.model is network:  # a model brought along stays with its owner
        _save(path, trained)
    begun.unlink(missing_ok=True)
    return trained


def _fit(
    cell: Cell, defense: Defense, network: nn.Module, dataset: Dataset, settings: RunSettings,
    listener: ProgressListener, begun: Path,
) -> Trained:  # fmt: skip
    def fit(network: nn.Module) -> Trained:
        what = f"{cell.defense} on {cell.dataset}, seed {cell.seed}"
        told = listener.training(what) if defense.trains else lambda _: None
        progress = ResumableProgress(told, begun)
        strengths = strengths_of(dataset.name, dataset.shape, settings.strengths)
        rng = stream("train", cell.dataset, cell.network, cell.defense, cell.seed)
        with defense.brought.entered() if defense.brought else kept():
            trained = defense.fit(network, dataset.train, strengths, progress, rng)
        progress(1.0)
        if not defense.trains:
            listener.loaded(cell.defense)
        return trained

    found = start_of(defense)
    start = found and _trained(starting(cell, found[0]), found[1], dataset, settings, listener)
    return fit_from(start, network, fit)


def starting(cell: Cell, defense: str) -> Cell:
    """The cell of the defense that this one's training starts from."""
    return cell.model_copy(update={"defense": defense})


class Notes(Frozen):
    """What is kept beside the weights of a model, each as JSON."""

    model: str
    """The file it was written to: under another name it is another model's."""
    trained_on: list[str] | None
    cost: Effort
    probes: dict[str, float | None]


def _save(path: Path, trained: Trained) -> None:
    known = None if trained.trained_on is None else sorted(trained.trained_on)
    notes = {
        "model": json.dumps(path.stem),
        "trained_on": json.dumps(known),
        "cost": trained.cost.model_dump_json(),
        "probes": json.dumps(_finite(trained.probes)),
    }
    write_weights(path, trained.model.state_dict(), notes)


def _finite(probes: Mapping[str, float | None]) -> dict[str, float | None]:
    """What is no number is not known: JSON and records have nothing else for it."""
    return {
        name: None if value is None or not math.isfinite(value) else value
        for name, value in probes.items()
    }


def _restore(
    path: Path, network: nn.Module, say: Callable[[str], None] = lambda _: None
) -> Trained | None:
    """The model of a file; None if there is none that is whole and fits, which is said."""
    try:
        saved = read_weights(path)
        if saved is None:
            return None
        notes = Notes.model_validate({name: json.loads(text) for name, text in saved.notes.items()})
        if notes.model != path.stem:
            raise ValueError(f"it is {notes.model}")
        step_sizes.load(network, saved.tensors)
    except UsageError as error:
        say(f"{error}; trained again")
        return None
    except (ValueError, RecursionError) as error:
        first = " ".join(str(error).split())[:200]
        say(f"{path}: a model that does not fit ({first}); trained again")
        return None
    known = None if notes.trained_on is None else frozenset(notes.trained_on)
    return Trained(network, known, notes.cost, notes.probes)


def training_hash(cell: Cell, defense: Defense, dataset: Dataset, settings: RunSettings) -> str:
    """Changes with whatever training depends on: options, attacks, data, files, code, device.

    And with all of that for the defense it starts from.
    """
    strengths = strengths_of(dataset.name, dataset.shape, settings.strengths)
    used = defense.training_attacks(strengths) or ()
    start = start_of(defense)
    begun = training_hash(starting(cell, start[0]), start[1], dataset, settings) if start else ""
    return short_hash(
        cell.defense, cell.network, *_code(defense, settings.own.network(cell)), cell.seed,
        torch.device(settings.device).type,
        fingerprint.options_of_instance(defense),
        *map(repr, used), *map(fingerprint.identity, used),
        dataset.hash, defense.content(), defense.brought and defense.brought.code, begun,
        fingerprint.identity(defense, *(NEEDED if defense.trains else ())),
    )  # fmt: skip


def _code(defense: Defense, network: str) -> list[str]:
    """What a network from elsewhere is beyond its name."""
    return [code] if (code := "" if defense.brings_network else code_of(network)) else []


def is_spoiled(model: Model) -> bool:
    """Whether weights, buffers or eval mode are not as they were."""
    modes = any(module.training for module in model.network.modules())
    return modes or verdicts.state_hash(model.network) != model.hash


def check_untouched(model: Model) -> str:
    """State hash now; AuditError if a cell wrote to the trained model it shares with others."""
    if is_spoiled(model):
        raise AuditError("the trained model changed while a cell was evaluated")
    return verdicts.state_hash(model.network)
