"""What runs in a worker: the cells of a group, or a piece of the examples they need first.

A worker writes its own records. It is handed the data set and the trained model, so that it needs
no shared disk; without one it hands the records back.
"""

from __future__ import annotations

import pickle
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import torch

from attacks.build import build_attack, strengths_of
from baselines.build import build_defenses
from baselines.networks.zoo import check_network
from benchmark.artifacts.models import Model, is_spoiled
from benchmark.artifacts.settings import ProgressListener, RunSettings
from benchmark.core.copying import copied
from benchmark.core.errors import AuditError, UsageError, contained
from benchmark.core.isolation import kept
from benchmark.core.types import Attack, Shape
from benchmark.data.splits import Dataset
from benchmark.evaluation.precision import in_precision
from benchmark.evaluation.verdicts import Meter
from benchmark.execution.allocator import keep_memory
from benchmark.execution.complete import complete_group
from benchmark.execution.journal import Event, Journal
from benchmark.execution.limits import limited
from benchmark.execution.loading import InputLoader
from benchmark.identity.fingerprint import code_version
from benchmark.plan.own_attack import brought_attacks, take_attack
from benchmark.protocol.defender import captured_draws, craft_shown
from benchmark.protocol.group import Group
from benchmark.protocol.pictures import FinishedCell
from benchmark.protocol.recording import record, save
from benchmark.results.records import Cell

SHOWN = -1
"""In place of the number of a piece: the attacked images that are shown."""


class WorkerTask(NamedTuple):
    """What a worker is given at a time."""

    settings: RunSettings
    defenses: tuple[str, ...]
    """As the user wrote them: every worker builds them anew."""
    group: Group
    journal: Path
    piece: int | None = None
    """Of the static examples of the group's attack, by number, or SHOWN; None runs its cells."""
    spent: tuple[int, int, float] = (0, 0, 0.0)
    """Passes forwards and backwards, and seconds, of pieces that others have made."""


class Report(NamedTuple):
    """What comes back: all but the reason of a refusal only where no disk is shared."""

    refused: str = ""
    """Why nothing that this worker does would help: the user has to act."""
    events: list[Event] = []
    finished: list[FinishedCell] = []


def anywhere(text: str) -> str:
    """A defense of the user's with a path that means the same in another working directory."""
    file, end, name = text.partition(".py:")
    return f"{Path(file).absolute()}{end}{name}" if end else text


def pack(model: Model) -> bytes:
    """A trained model for other processes; empty if it cannot be pickled: they make their own."""
    try:
        with contained():
            network = copied(model.network)
            network.cpu()
            return pickle.dumps(model._replace(network=network, searched=network))
    except Exception:  # a class inside a function, say
        return b""


def work(code: str, task: bytes, data: Dataset, model: bytes) -> Report:
    """Do a task.

    Args:
        code: `code_version` of the driver; a worker with any other refuses before it reads on.
        task: a pickled `WorkerTask`, opened only then, since other code may not be able to.
        data: what trains the model of the task; scored is what the split of its cells leaves.
        model: see `pack`.
    """
    if code != code_version():
        return Report(
            f"a worker runs other code than this: expected {code}, got {code_version()} there; "
            "install the same versions on every machine, and start again if files changed"
        )
    try:
        opened: WorkerTask = pickle.loads(task)
        shared = opened.journal.is_file()
        journal = Journal(opened.journal if shared else None, opened.group.cells)
        loader = _loader(opened.settings, opened.defenses, shared)
        loader.take(opened.group, data, model, journal)
        finished: list[FinishedCell] = []
        if opened.piece is not None:
            _craft_piece(opened.group, opened.piece, loader, journal)
        else:
            keep = partial(save, opened.settings, listener=journal) if shared else finished.append
            limit = partial(limited, opened.settings, journal.over)
            inputs, meter = loader.inputs(opened.group.cells[0]), Meter(*opened.spent)
            record(
                inputs, opened.group.cells[0], "skipped", meter, reason="not begun"
            )  # what a process finds out once is no cell's
            complete_group(opened.group, inputs, loader, keep, limit, meter)
        return Report("", journal.events, finished)
    except UsageError as error:
        return Report(str(error))


def _craft_piece(group: Group, piece: int, loader: InputLoader, journal: Journal) -> None:
    """Put it into the cache, for whoever runs the cells."""
    cell, meter = group.cells[0], Meter()
    journal.begun(cell)
    try:
        with contained(), kept():
            inputs = loader.inputs(cell)
            if piece == SHOWN:
                craft_shown(captured_draws(group.cells), inputs, meter)
            else:
                inputs.examples.craft_piece(inputs.static_request(cell), piece, meter)
    except UsageError:
        raise
    except Exception:  # whoever runs the cell meets the same, and says so in its record
        return
    journal.write("spent", meter.forwards, meter.backwards, meter.seconds)


class _WorkerLoader(InputLoader):
    """Is handed the data set and the trained model."""

    def take(self, group: Group, data: Dataset, model: bytes, listener: ProgressListener) -> None:
        """What a task brings."""
        names = {name for cell in group.cells for name in (*cell.shown, cell.attack)}
        given = group.cells[0].dataset, data.shape, self.settings.strengths
        defense = self.defenses[group.cells[0].defense]
        brought = brought_attacks(defense, strengths_of(*given))
        self.attacks = {name: brought.get(name) or _attack(name, *given) for name in names}
        self.given, self.packed, self.listener = data, model, listener

    def _read(self, cell: Cell) -> Dataset:
        return self.given

    def _open(self, cell: Cell) -> Model | Exception:
        try:
            with contained():
                model: Model = pickle.loads(self.packed)
                if is_spoiled(model):
                    raise AuditError("it is not what was packed")
        except Exception:  # it was not packed, or came apart on the way: this worker makes its own
            return super()._open(cell)
        network = model.network
        network.to(self.settings.device)
        searched = in_precision(network, self.settings.precision)
        return model._replace(network=network, searched=searched)


@lru_cache(maxsize=256)
def _attack(name: str, dataset: str, shape: Shape, strengths: str) -> Attack:
    """Built from its name, which says everything."""
    return build_attack(name, strengths_of(dataset, shape, strengths))


@lru_cache(maxsize=1)
def _loader(settings: RunSettings, defenses: tuple[str, ...], shared: bool) -> _WorkerLoader:
    torch.set_num_threads(settings.threads or 1)
    keep_memory()
    for _, network in settings.own.networks:
        check_network(network)  # imports a user's file, whose classes are in what comes pickled
    for _, attack in settings.own.attacks:
        take_attack(attack)
    here = settings if shared else settings.model_copy(update={"no_cache": True})
    return _WorkerLoader({}, dict(build_defenses(defenses).values()), here, Journal(None, ()))
