"""What cells share, each made once: data, trained models, static examples.

The plan is ordered by seed, defense and attack, so keeping the last of each is enough: only one
model is alive at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn

from attacks.strengths import strengths_of
from baselines.networks import build_network
from benchmark import data, datasets, evaluation, fingerprint
from benchmark.core import store
from benchmark.core.errors import AuditError
from benchmark.core.records import Cell, short_hash
from benchmark.core.seeding import stream
from benchmark.core.types import Attack, Batch, Progress, Trained
from benchmark.data import Dataset, Split
from benchmark.plan import Plan

T = TypeVar("T")
SEARCH = ("attacks.geometry", "attacks.search")
TRAINING = ("baselines.networks", "baselines.training", "baselines.adaptation")
POOL = 10
"""Shown images per class that are crafted at once, see `Lab.shown`."""
PROTOCOL = ("benchmark.runner", "benchmark.lab", "benchmark.evaluation", "benchmark.data")


class Watch(Protocol):
    """Who is told how far a run is."""

    def training(self, what: str) -> Progress:
        """Training begins; returns where to report its share done."""

    def cell(self, cell: Cell) -> None:
        """A cell begins."""

    def finished(self, cell: Cell, status: str, reason: str | None) -> None:
        """A cell has ended, or was found `cached`."""

    def note(self, line: str) -> None:
        """Something worth a line: a stale record, an unreadable file."""


class Model(NamedTuple):
    """A trained model, ready to be evaluated and never to be written to."""

    network: nn.Module
    trained_on: frozenset[str] | None
    hash: str
    flags: list[str]


class Static(NamedTuple):
    """What an attack does to the trained model: crafted once, used by every budget."""

    images: Tensor
    clean: Tensor
    robust: Tensor
    outside: int


class Place(NamedTuple):
    """Where a run happens."""

    results: Path
    data_dir: Path | None = None
    download: bool = False
    device: str = "cpu"
    command: str = ""


class Lab:
    """The shared things of one run, made when first asked for."""

    def __init__(self, plan: Plan, place: Place, watch: Watch) -> None:
        self.plan, self.place, self.watch = plan, place, watch
        self._kept: dict[str, tuple[object, object]] = {}

    def _keep(self, kind: str, key: object, make: Callable[[], T]) -> T:
        """The last thing of a kind, made again only when its key changes; failures are kept too."""
        if kind not in self._kept or self._kept[kind][0] != key:
            self._kept.pop(kind, None)
            try:
                self._kept[kind] = (key, make())
            except Exception as error:
                self._kept[kind] = (key, error)
        found = self._kept[kind][1]
        if isinstance(found, Exception):
            raise found
        return found  # type: ignore[return-value]

    def dataset(self, cell: Cell) -> Dataset:
        """The data set, split by the seed of the cell."""
        place, key = self.place, (cell.dataset, cell.seed)
        return self._keep(
            "dataset",
            key,
            lambda: datasets.load(cell.dataset, place.data_dir, place.download, cell.seed),
        )

    def query(self, cell: Cell) -> Batch:
        """The scored images: the first `limit` of the test split, in published order."""
        key = (cell.dataset, cell.seed, cell.limit)
        scored = self.dataset(cell).test.first(cell.limit)
        return self._keep("query", key, lambda: scored.batch().to(self.place.device))

    def support(self, cell: Cell, episode: int) -> Split:
        """What is shown in an episode, before any attack; disjoint from the query."""
        dataset, shots = self.dataset(cell), cell.budget.shots
        return data.support_and_query(dataset, shots, cell.seed, episode, cell.limit).support

    def shown(self, cell: Cell, episode: int, meter: evaluation.Meter) -> Tensor:
        """The support of an episode under attack, crafted against the trained model.

        The pool is crafted once for all shots up to its size, and cut: its first images are the
        smaller supports. Its size depends on the cell alone, not on what else is planned.
        """
        size = self._pool_size(cell)
        key = (self.model(cell).hash, cell.attack, size, cell.seed, cell.limit)
        pool = self._keep(f"shown {episode}", key, lambda: self._shown(cell, size, episode, meter))
        return pool[: cell.budget.shots * self.dataset(cell).classes]

    def _shown(self, cell: Cell, size: int, episode: int, meter: evaluation.Meter) -> Tensor:
        dataset = self.dataset(cell)
        drawn = data.support_and_query(dataset, size, cell.seed, episode, cell.limit)
        pool = drawn.support.batch().to(self.place.device)
        rng = stream("attack", "shown", cell.attack, cell.seed, episode)
        attack, network = self.attack(cell), self.model(cell).network
        return evaluation.run_attack(attack, network, pool, "examples", meter, rng).images

    def _pool_size(self, cell: Cell) -> int:
        """Shots of the pool: the next of 10, 20, 40, ..., or all that the rarest class has."""
        size = POOL
        while size < cell.budget.shots:
            size *= 2
        labels = self.dataset(cell).validation.labels
        rarest = int(labels.bincount(minlength=self.dataset(cell).classes).min())
        return max(cell.budget.shots, min(size, rarest))

    def attack(self, cell: Cell) -> Attack:
        """The attack of the cell."""
        return self.plan.attacks[cell.attack]

    def model(self, cell: Cell) -> Model:
        """The trained model: read from the results folder, or trained and kept there."""
        key = (cell.dataset, cell.network, cell.defense, cell.seed)
        return self._keep("model", key, lambda: self._model(cell))

    def _model(self, cell: Cell) -> Model:
        dataset = self.dataset(cell)
        rng = stream("network", cell.network, cell.dataset, cell.seed)
        network = build_network(cell.network, dataset.shape, dataset.classes, rng)
        prints = self._training_fingerprint(cell)
        name = short_hash(sorted(prints.items()))
        stem = store.slug(f"{cell.dataset}-{cell.network}-{cell.defense}-s{cell.seed}")
        path = self.place.results / "models" / f"{stem}-{name}.safetensors"
        trained = self._restore(path, network) or self._fit(cell, network, path)
        model = evaluation.frozen(trained.model).to(self.place.device)
        probe = dataset.validation.first(100).batch().to(self.place.device)
        evaluation.correct(model, probe)
        hashed = evaluation.state_hash(model)
        return Model(model, trained.trained_on, hashed, evaluation.suspicions(model, probe))

    def _fit(self, cell: Cell, network: nn.Module, path: Path) -> Trained:
        defense = self.plan.defenses[cell.defense]
        progress = self.watch.training(f"{cell.defense} on {cell.dataset}, seed {cell.seed}")
        rng = stream("train", cell.dataset, cell.network, cell.defense, cell.seed)
        network = network.to(self.place.device)
        split, strengths = self.dataset(cell).train, strengths_of(cell.dataset)
        trained = defense.fit(network, split, strengths, progress, rng)
        progress(1.0)
        if trained.model is network:  # a model brought along stays where its owner keeps it
            known = None if trained.trained_on is None else sorted(trained.trained_on)
            notes = {"trained_on": json.dumps(known), "passes": str(trained.passes)}
            store.write_weights(path, network.state_dict(), notes)
        return trained

    def _restore(self, path: Path, network: nn.Module) -> Trained | None:
        saved = store.read_weights(path)
        if saved is None:
            return None
        network.load_state_dict(saved.tensors)
        families = json.loads(saved.notes["trained_on"])
        known = None if families is None else frozenset(families)
        return Trained(network, known, int(saved.notes["passes"]))

    def _training_fingerprint(self, cell: Cell) -> dict[str, str]:
        defense = self.plan.defenses[cell.defense]
        strengths = strengths_of(cell.dataset)
        used = defense.training_attacks(strengths) or ()
        return {
            "options": short_hash(cell.defense, fingerprint.options_of_instance(defense)),
            "attacks": short_hash(*map(repr, used), *map(fingerprint.source_hash, used)),
            "data": self.dataset(cell).hash,
            "content": defense.content(),
            "source": fingerprint.source_hash(defense, *TRAINING, *SEARCH),
            "place": short_hash(cell.network, cell.seed, torch.device(self.place.device).type),
        }

    def drop_spoiled_model(self) -> None:
        """Forget a trained model that a failed cell wrote to: the next cell gets it as it was."""
        _, model = self._kept.get("model", (None, None))
        if isinstance(model, Model) and is_spoiled(model):
            self._kept.pop("model")

    def fingerprint(self, cell: Cell) -> dict[str, str]:
        """Everything the record of a cell depends on, by part."""
        attack = self.attack(cell)
        return {
            "cell": short_hash(cell.model_dump_json()),
            "attack options": short_hash(fingerprint.options_of_instance(attack)),
            "attack code": short_hash(fingerprint.source_hash(attack, *SEARCH), attack.origin),
            "data": self.dataset(cell).hash,
            "training": short_hash(sorted(self._training_fingerprint(cell).items())),
            "weights": self.model(cell).hash,
            "protocol code": fingerprint.source_hash(self, *PROTOCOL, "baselines.adaptation"),
        }

    def static(self, cell: Cell, meter: evaluation.Meter) -> Static:
        """The query under attack, crafted against the trained model at full strength."""
        key = (self.model(cell).hash, cell.attack, cell.limit)
        return self._keep("static", key, lambda: self._static(cell, meter))

    def _static(self, cell: Cell, meter: evaluation.Meter) -> Static:
        attack, model, query = self.attack(cell), self.model(cell).network, self.query(cell)
        rng = stream("attack", "static", cell.attack, cell.seed)
        clean = evaluation.correct(model, query)
        attacked = evaluation.run_attack(attack, model, query, "examples", meter, rng)
        robust = clean & evaluation.correct(model, Batch(attacked.images, query.labels))
        return Static(attacked.images, clean, robust, attacked.outside)


def is_spoiled(model: Model) -> bool:
    """Whether weights, buffers or eval mode are not as they were."""
    modes = any(module.training for module in model.network.modules())
    return modes or evaluation.state_hash(model.network) != model.hash


def check_untouched(model: Model) -> None:
    """Raise AuditError if a cell wrote to the trained model it shares with others."""
    if is_spoiled(model):
        raise AuditError("the trained model changed while a cell was evaluated")
