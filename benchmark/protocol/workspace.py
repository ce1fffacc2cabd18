"""What cells share, each made once: data, trained models, static examples.

The plan is ordered by seed, defense and attack, so keeping the last of each is enough: only one
model is alive at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from benchmark.adaptation.adapt import MOST_BYTES, Adapted
from benchmark.artifacts.example_cache import Cache
from benchmark.artifacts.examples import Crafted, Piece, Wanted, craft, craft_piece, is_kept
from benchmark.artifacts.models import Model, is_spoiled, trained_model
from benchmark.artifacts.settings import Place, Watch
from benchmark.core.errors import contained
from benchmark.core.schema import short_hash
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch
from benchmark.data import load, splits
from benchmark.data.splits import EPISODES, POOL, Dataset, Split
from benchmark.evaluation import verdicts
from benchmark.evaluation.precision import in_precision
from benchmark.identity import fingerprint
from benchmark.identity.import_graph import reachable_hash
from benchmark.plan.matrix import Plan
from benchmark.results.records import Cell, Scored

T = TypeVar("T")
PIXELS = 64 << 20
"""Of query images attacked in one batch: a quarter of a gigabyte."""
STATIC = 128 << 20
"""Bytes of static examples kept in memory: a matrix of attacks shown and scored comes back to each
of them after every attack shown."""


class _Failed(NamedTuple):
    error: Exception
    where: TracebackType | None


class Lab:
    """The shared things of one run, made when first asked for."""

    def __init__(self, plan: Plan, place: Place, watch: Watch) -> None:
        self.plan, self.place, self.watch = plan, place, watch
        limit = place.cache_limit
        self.cache = Cache(place.cache, limit, self._note) if place.cache else None
        self.given: Mapping[str, Sequence[Piece]] = {}
        """The query under an attack, by its name, where others have crafted it for this lab."""
        self._kept: dict[str, tuple[object, object]] = {}
        self._planned: list[Cell] | None = None
        self._siblings: dict[Cell, list[Cell]] = {}

    def _note(self, line: str) -> None:
        """To whoever watches now: workers change that from cell to cell."""
        self.watch.note(line)

    def _keep(self, kind: str, key: object, make: Callable[[], T]) -> T:
        """The last thing of a kind, made again only when its key changes; failures are kept too."""
        if kind not in self._kept or self._kept[kind][0] != key:
            self._kept.pop(kind, None)
            try:
                with contained():
                    self._kept[kind] = (key, make())
            except Exception as error:
                self._kept[kind] = (key, _Failed(error, error.__traceback__))
        found = self._kept[kind][1]
        if isinstance(found, _Failed):
            raise found.error.with_traceback(found.where)  # or it would grow with every cell
        return found  # type: ignore[return-value]

    def dataset(self, cell: Cell, split: Scored | None = None) -> Dataset:
        """The data set, split by the seed of the cell, as the cell's `split` or another has it."""
        whole = self._keep("dataset", (cell.dataset, cell.seed), lambda: self._load(cell))
        if (split or cell.split) == "test":
            return whole
        return self._keep("halves", whole.hash, lambda: splits.for_choosing(whole))

    def _load(self, cell: Cell) -> Dataset:
        place = self.place
        return load.load(cell.dataset, place.data_dir, place.download, cell.seed)

    def query(self, cell: Cell) -> Batch:
        """The scored images: the first `limit` of the test split, in published order."""
        key = (cell.dataset, cell.seed, cell.limit, cell.split)
        scored = self.dataset(cell).test.first(cell.limit)
        return self._keep("query", key, lambda: scored.batch().to(self.place.device))

    def support(self, cell: Cell, episode: int, stage: int = 0) -> Split:
        """What is shown in an episode, before any attack; disjoint from the query."""
        dataset, shots = self.dataset(cell), cell.budget.shots
        return splits.support_and_query(
            dataset, shots, cell.seed, episode, cell.limit, stage
        ).support

    def shown(self, cell: Cell, episode: int, meter: verdicts.Meter) -> Tensor:
        """The support of an episode under attack, crafted against the trained model.

        The pool is crafted once for all shots up to its size, and cut: its first images are the
        smaller supports. Its size depends on the cell alone, not on what else is planned. The pools
        of a few episodes are attacked as one batch: alone they are small ones.
        """
        first = episode - episode % EPISODES
        several = range(first, min(first + EPISODES, cell.episodes))
        size = self._pool_size(cell)
        key = (*self._attacked(cell), size, several)
        make = lambda: self._shown(cell, size, several, meter)  # noqa: E731
        pool = self._keep(f"shown {first}", key, make)[episode - first]
        return pool[: cell.budget.shots * self.dataset(cell).classes]

    def _shown(
        self, cell: Cell, size: int, several: range, meter: verdicts.Meter
    ) -> Sequence[Tensor]:
        dataset, drawn, streams = self.dataset(cell), [], []
        for episode in several:
            split = splits.support_and_query(dataset, size, cell.seed, episode, cell.limit)
            drawn.append(split.support.batch())
            names = ("attack", "shown", cell.attack, cell.seed, episode)
            streams.append(Streams.named(len(drawn[-1].labels), *names))
        pools = Batch(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
        what = f"support of episodes {several[0]} to {several[-1]}"
        wanted = self._wanted(cell, what, pools.to(self.place.device), Streams.joined(streams))
        made = craft(self.cache, wanted, meter).images
        return torch.split(made, [len(batch.labels) for batch in drawn])

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
        return model.hash, model.training, cell.attack, cell.seed, cell.limit, cell.split

    def episodes(self, cell: Cell, make: Callable[[list[Cell]], dict[Cell, T]]) -> T:
        """What `make` finds for a cell, made together with its siblings in the plan.

        Those that differ in the number of shots only: they adapt and are attacked as one batch.
        All of them, finished or not, since the last bits of a logit depend on what else is in the
        batch: the same command gives the same verdicts, wherever it was interrupted.
        """
        if self._planned is not self.plan.cells:
            self._planned, self._siblings = self.plan.cells, but_for_shots(self.plan.cells)
        siblings = self._siblings[_shared(cell)]
        made = self._keep("episodes", siblings, lambda: make(siblings))
        return made[cell]

    def adapted(
        self, draws: Sequence[tuple[Cell, int]], arrivals: tuple[str, ...], make: Callable[[], T]
    ) -> T:
        """The models of these draws (cell, episode) after `arrivals`: every scored attack has them.

        The last ones of each number of arrivals are kept, for the arrival after them.
        """
        cell, model = draws[0][0], self.model(draws[0][0])
        budgets = tuple((one.budget, episode) for one, episode in draws)
        key = (model.hash, model.training, cell.seed, cell.split, arrivals, budgets)
        return self._keep(f"adapted {len(arrivals)}", key, make)

    def models_at_once(self, cell: Cell, adapted: Sequence[Adapted]) -> int:
        """How many adapted models are attacked in one batch: what images and weights leave room."""
        if not self.attack(cell).by_rows:
            return 1
        weights = sum(tensor.nbytes for tensor in adapted[0].parameters.values())
        pixels = self.query(cell).images.numel()
        return max(1, min(PIXELS // max(1, pixels), MOST_BYTES // max(1, weights)))

    def quick(self, model: nn.Module) -> nn.Module:
        """The model as attacks ask it, in the precision of this run."""
        return in_precision(model, self.place.precision)

    def attack(self, cell: Cell) -> Attack:
        """The attack of the cell."""
        return self.plan.attacks[cell.attack]

    def model(self, cell: Cell) -> Model:
        """The trained model: read from the results folder, or trained and kept there."""
        key = (cell.dataset, cell.network, cell.defense, cell.seed)
        return self._keep("model", key, lambda: self._train(cell))

    def flags(self, cell: Cell) -> list[str]:
        """What makes its trained model doubtful; nothing where there is none."""
        try:
            return self.model(cell).flags
        except Exception:  # its cells say why
            return []

    def _train(self, cell: Cell) -> Model:
        defense, dataset = self.plan.defenses[cell.defense], self.dataset(cell, "test")
        return trained_model(cell, defense, dataset, self.place, self.watch)

    def drop_spoiled_model(self) -> None:
        """Forget a trained model that a failed cell wrote to: the next cell gets it as it was."""
        _, model = self._kept.get("model", (None, None))
        try:
            with contained():
                spoiled = isinstance(model, Model) and is_spoiled(model)
        except Exception:  # it cannot even be looked at
            spoiled = True
        if spoiled:
            self._kept.pop("model")

    def fingerprint(self, cell: Cell) -> dict[str, str]:
        """Everything the record of a cell depends on, by part."""
        attack = self.attack(cell)
        others = [self.attack(cell.showing(name)) for name in cell.shown]
        shown = [(fingerprint.options_of_instance(one), fingerprint.source_hash(one))
                 for one in others]  # fmt: skip
        choice = self.place.choice(cell)
        return {
            **({"reattack": self.place.reattack} if self.place.spares(cell, attack) else {}),
            **({"attacks shown": short_hash(*shown)} if shown else {}),
            **({"tuned": short_hash(choice.model_dump_json())} if choice else {}),
            "cell": short_hash(cell.model_dump_json()),
            "attack options": short_hash(fingerprint.options_of_instance(attack)),
            "attack code": short_hash(fingerprint.source_hash(attack), attack.origin),
            "data": self.dataset(cell).hash,
            "training": self.model(cell).training,
            "weights": self.model(cell).hash,
            "precision": self.place.precision,
            "protocol code": reachable_hash(["benchmark.protocol.cell"]),
        }

    def static(self, cell: Cell, meter: verdicts.Meter) -> Crafted:
        """The query under attack, crafted against the trained model at full strength."""
        kind = f"static {cell.attack}"
        made = self._keep(kind, self._attacked(cell), lambda: self._static(cell, meter))
        kept = [name for name in self._kept if name.startswith("static ")]
        room = STATIC - made.images.nbytes
        for name in (name for name in reversed(kept) if name != kind):
            found = self._kept[name][1]
            room -= found.images.nbytes if isinstance(found, Crafted) else 0
            if room < 0:  # those made first go first
                self._kept.pop(name)
        return made

    def _static(self, cell: Cell, meter: verdicts.Meter) -> Crafted:
        return craft(self.cache, self._scored(cell), meter, self.given.get(cell.attack, ()))

    def static_pieces(self, cell: Cell) -> int:
        """In how many pieces the query is attacked; 0 if what that leads to is in the cache."""
        wanted = self._scored(cell)
        return 0 if is_kept(self.cache, wanted) else len(wanted.pieces)

    def static_piece(self, cell: Cell, number: int) -> Piece:
        """One of them, for whoever is `given` them all."""
        return craft_piece(self._scored(cell), number)

    def _scored(self, cell: Cell) -> Wanted:
        query = self.query(cell)
        rng = Streams.named(len(query.labels), "attack", "static", cell.attack, cell.seed)
        return self._wanted(cell, "query", query, rng)

    def _wanted(self, cell: Cell, what: str, batch: Batch, rng: Streams) -> Wanted:
        trained = f"{cell.dataset}/{cell.network}/{cell.defense}/s{cell.seed}"
        about = {"what": what, "trained": trained, "attack": cell.attack}
        return Wanted(self.attack(cell), self.model(cell), batch, rng, about)


def but_for_shots(cells: Sequence[Cell]) -> dict[Cell, list[Cell]]:
    """The cells that adapt, together with those that differ in the number of shots only."""
    found: dict[Cell, list[Cell]] = {}
    for cell in cells:
        if cell.budget.adapts:
            found.setdefault(_shared(cell), []).append(cell)
    return found


def _shared(cell: Cell) -> Cell:
    return cell.model_copy(update={"budget": cell.budget.model_copy(update={"shots": 1})})
