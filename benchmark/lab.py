"""What cells share, each made once: data, trained models, static examples.

The plan is ordered by seed, defense and attack, so keeping the last of each is enough: only one
model is alive at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from torch import Tensor

from benchmark import data, datasets, evaluation, fingerprint
from benchmark.core.records import Cell, short_hash
from benchmark.core.seeding import stream
from benchmark.core.types import Attack, Batch
from benchmark.data import Dataset, Split
from benchmark.models import SEARCH, Model, is_spoiled, trained_model
from benchmark.place import Place, Watch
from benchmark.plan import Plan

T = TypeVar("T")
POOL = 10
"""Shown images per class that are crafted at once, see `Lab.shown`."""
PROTOCOL = (
    "benchmark.runner", "benchmark.lab", "benchmark.evaluation", "benchmark.data",
    "baselines.adaptation",
)  # fmt: skip


class Static(NamedTuple):
    """What an attack does to the trained model: crafted once, used by every budget."""

    images: Tensor
    clean: Tensor
    robust: Tensor
    outside: int


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
        key = (*self._attacked(cell), size)
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

    def _attacked(self, cell: Cell) -> tuple[object, ...]:
        """What crafted examples depend on; equal weights may run through other code."""
        model = self.model(cell)
        return model.hash, model.training, cell.attack, cell.seed, cell.limit

    def attack(self, cell: Cell) -> Attack:
        """The attack of the cell."""
        return self.plan.attacks[cell.attack]

    def model(self, cell: Cell) -> Model:
        """The trained model: read from the results folder, or trained and kept there."""
        key = (cell.dataset, cell.network, cell.defense, cell.seed)
        return self._keep(
            "model",
            key,
            lambda: trained_model(
                cell, self.plan.defenses[cell.defense], self.dataset(cell), self.place, self.watch
            ),
        )

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
            "training": self.model(cell).training,
            "weights": self.model(cell).hash,
            "protocol code": fingerprint.source_hash(self, *PROTOCOL),
        }

    def static(self, cell: Cell, meter: evaluation.Meter) -> Static:
        """The query under attack, crafted against the trained model at full strength."""
        return self._keep("static", self._attacked(cell), lambda: self._static(cell, meter))

    def _static(self, cell: Cell, meter: evaluation.Meter) -> Static:
        attack, model, query = self.attack(cell), self.model(cell).network, self.query(cell)
        rng = stream("attack", "static", cell.attack, cell.seed)
        clean = evaluation.correct(model, query)
        attacked = evaluation.run_attack(attack, model, query, "examples", meter, rng)
        robust = clean & evaluation.correct(model, Batch(attacked.images, query.labels))
        return Static(attacked.images, clean, robust, attacked.outside)
