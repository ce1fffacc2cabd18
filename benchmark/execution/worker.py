"""What runs inside a worker: cells of one trained model under one attack, one after the other.

A worker reads no plan and writes no record. It is handed the data set and the trained model, and
hands back what happened, event by event; whoever drives it writes that down.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch

from attacks.build import build_attack, strengths_of
from baselines.build import build_defenses
from benchmark.artifacts.examples import Piece
from benchmark.artifacts.models import Model, is_spoiled
from benchmark.artifacts.settings import Place
from benchmark.core.copying import copied
from benchmark.core.errors import AuditError, UsageError, contained
from benchmark.core.isolation import kept
from benchmark.core.types import Attack
from benchmark.data.splits import Dataset
from benchmark.evaluation.precision import in_precision
from benchmark.execution.allocator import keep_memory
from benchmark.execution.progress import Silent
from benchmark.identity.fingerprint import code_version
from benchmark.plan.matrix import Plan
from benchmark.protocol.cell import settle
from benchmark.protocol.pictures import Ending
from benchmark.protocol.workspace import Lab
from benchmark.results.records import Cell


class Job(NamedTuple):
    """What every worker of a run is told once. Defenses are built anew in each, from their text."""

    place: Place
    defenses: tuple[str, ...]
    threads: int = 1


def anywhere(job: Job) -> Job:
    """The job with paths that mean the same in another working directory."""
    place = job.place
    data, cache = (path and path.absolute() for path in (place.data_dir, place.cache))
    place = place._replace(results=place.results.absolute(), data_dir=data, cache=cache)
    return job._replace(place=place, defenses=tuple(map(_anywhere, job.defenses)))


def _anywhere(text: str) -> str:
    file, end, name = text.partition(".py:")
    return f"{Path(file).absolute()}{end}{name}" if end else text


class Order(NamedTuple):
    """Cells of one trained model under one attack, to be run one after the other."""

    job: Job
    cells: list[Cell]
    planned: list[Cell]
    """All that the plan has of these, since what is made together depends on that."""
    given: dict[str, list[Piece]] = {}
    """See `Lab.given`."""


class PieceOrder(NamedTuple):
    """A piece of what cells of one trained model and attack need first."""

    job: Job
    cell: Cell
    number: int


class Parcel(NamedTuple):
    """What the cells of one trained model need."""

    dataset: Dataset
    model: bytes
    """Pickled on the CPU; empty if it cannot be pickled: then the worker makes its own."""


Packer = Callable[[Cell], tuple[object, Parcel]]
"""Gives the key of a cell's trained model, and the parcel."""


class Begun(NamedTuple):
    """A cell has begun."""

    cell: Cell


class Ended(NamedTuple):
    """A cell has ended: what it leaves behind, and what there was to say on the way."""

    cell: Cell
    ending: Ending
    notes: list[str]


class Made(NamedTuple):
    """A piece is there; None if it could not be made."""

    piece: Piece | None


class Refused(NamedTuple):
    """Nothing that this worker does would help: the user has to act."""

    reason: str


class Died(NamedTuple):
    """The worker is gone; said by whoever watched over it."""

    reason: str


Event = Begun | Ended | Made | Refused | Died


def pack(dataset: Dataset, model: Model) -> Parcel:
    """A parcel for other processes."""
    try:
        with contained():
            network = copied(model.network)
            network.cpu()
            on_cpu = model._replace(network=network, searched=network)
            return Parcel(dataset, pickle.dumps(on_cpu))
    except Exception:  # a class inside a function, say
        return Parcel(dataset, b"")


class _Notes(Silent):
    """Keeps what a worker has to say until the driver can show it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        """Keep it."""
        self.lines.append(line)


class WorkerLab(Lab):
    """A lab that is handed its data set and trained model."""

    def __init__(self, job: Job) -> None:
        super().__init__(Plan(cells=[], attacks={}, defenses={}), job.place, _Notes())
        self.plan.defenses.update(build_defenses(job.defenses).values())
        self.parcel: Parcel | None = None

    def attack(self, cell: Cell) -> Attack:
        """Built from its name, which says everything."""
        build = lambda: build_attack(cell.attack, strengths_of(cell.dataset))  # noqa: E731
        return self._keep("attack", (cell.dataset, cell.attack), build)

    def _load(self, cell: Cell) -> Dataset:
        return self.parcel.dataset if self.parcel else super()._load(cell)

    def _train(self, cell: Cell) -> Model:
        if self.parcel is None or not self.parcel.model:
            return super()._train(cell)
        try:
            with contained():
                model: Model = pickle.loads(self.parcel.model)
                if is_spoiled(model):
                    raise AuditError("it is not what was packed")
        except Exception:  # it came apart on the way: this worker makes its own
            return super()._train(cell)
        network = model.network
        network.to(self.place.device)
        return model._replace(network=network, searched=in_precision(network, self.place.precision))


@lru_cache(maxsize=1)
def _lab(job: Job) -> WorkerLab:
    torch.set_num_threads(job.threads)
    keep_memory()
    place = job.place._replace(limits=job.place.limits._replace(hard=True))
    if not place.results.is_dir():  # another machine, with a disk of its own
        place = place._replace(cache=None)
    return WorkerLab(job._replace(place=place))


def serve(code: str, order: bytes, fetch: Callable[[], Parcel | None]) -> Iterator[Event]:
    """Run the cells of an order, or make a piece, and tell how it goes.

    Args:
        code: `code_version` of the driver; a worker with any other refuses before it reads on.
        order: a pickled `Order` or `PieceOrder`, opened only then, since other code may not be
            able to.
        fetch: gives the parcel of these cells; None where the last one still holds.
    """
    if code != code_version():
        yield Refused(
            f"a worker runs other code than this: expected {code}, got {code_version()} there; "
            "install the same versions on every machine, and start again if files changed"
        )
        return
    try:
        opened: Order | PieceOrder = pickle.loads(order)
        lab = _lab(opened.job)
        lab.parcel = fetch() or lab.parcel
        yield from _run(lab, opened) if isinstance(opened, Order) else _make(lab, opened)
    except UsageError as error:
        yield Refused(str(error))


def _make(lab: WorkerLab, order: PieceOrder) -> Iterator[Begun | Made]:
    yield Begun(order.cell)
    try:
        with contained(), kept():
            made = lab.static_piece(order.cell, order.number)
        yield Made(made)
    except UsageError:
        raise
    except Exception:  # whoever runs the cell meets the same, and says so in its record
        yield Made(None)


def _run(lab: WorkerLab, order: Order) -> Iterator[Begun | Ended]:
    lab.plan = lab.plan.model_copy(update={"cells": order.planned})
    lab.given = order.given
    for cell in order.cells:
        yield Begun(cell)
        notes = lab.watch = _Notes()
        ending = settle(lab, cell, look=False)
        if ending is not None:
            yield Ended(cell, ending, notes.lines)
