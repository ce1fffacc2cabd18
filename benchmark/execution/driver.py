"""Shares the groups out among workers, and sees to it that a death costs what it must.

The driver trains, so that no two workers train the same model; workers write their own records. A
worker that dies costs its group one retry of the cells it was at, alone; if these take another
worker with them they end `failed`, and nothing else is lost. Cells at a limit end `failed` at once.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from benchmark.artifacts.examples import AttackRequest
from benchmark.core.errors import OverLimit, UsageError
from benchmark.data.splits import Dataset
from benchmark.evaluation.batch_size import is_costly, one_by_one
from benchmark.execution.journal import Event, JournalReader, open_journal
from benchmark.execution.limits import over_time
from benchmark.execution.loading import trained_name
from benchmark.execution.queue import GroupQueue, OpenGroup
from benchmark.execution.worker import SHOWN, Report, WorkerTask, anywhere, pack
from benchmark.identity.fingerprint import code_version
from benchmark.protocol.defender import captured_draws
from benchmark.protocol.group import cannot_run
from benchmark.protocol.recording import save
from benchmark.results.records import Cell

PERIOD = 0.2
"""Seconds between two looks at what workers have written down."""


class Backend(AbstractContextManager["Backend"], Protocol):
    """Workers of some kind; leaving it on an error ends those that work."""

    slots: int
    """Tasks at once."""

    def __enter__(self) -> Self:
        """Start what it needs."""

    def submit(
        self, key: object, code: str, task: bytes, data: Dataset, model: bytes
    ) -> Future[Report]:
        """Give `benchmark.execution.worker.work` to a worker; `key` is that of the model."""

    def result(self, future: Future[Report]) -> Report | str:
        """What became of a task that is done; a text says how its worker died."""


Spent = tuple[int, int, float]
"""Passes forwards and backwards, and seconds."""


def _sum(one: Spent, other: Sequence[Any]) -> Spent:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


@dataclass(eq=False)
class _Work:
    """A group that is shared out."""

    opened: OpenGroup
    todo: set[Cell]
    pieces: deque[int] = field(default_factory=deque)
    """Of the examples that are to be made before its cells, by number."""
    static: AttackRequest | None = None
    """For its static examples, where workers share its adapted models, cell by cell."""
    making: int = 0
    """Pieces that workers are at."""
    alone: list[Cell] = field(default_factory=list)
    """The only ones that the next worker gets: the last one died at them."""
    spent: Spent = (0, 0, 0.0)
    """What pieces took, for the record of its first cell, and what was shown, for the next."""
    shown: Spent = (0, 0, 0.0)


@dataclass
class _Running:
    """A task that a worker is at."""

    work: _Work
    piece: int | None
    journal: JournalReader
    begun: Cell | None = None
    at: float = 0.0
    over: str = ""
    """Why the worker ended itself."""


class Driver:
    """One run of a queue."""

    def __init__(self, queue: GroupQueue, backend: Backend, defenses: Sequence[str]) -> None:
        self.queue, self.backend = queue, backend
        self.loader, self.listener = queue.loader, queue.loader.listener
        self.settings = queue.loader.settings.anywhere()
        self.defenses = tuple(map(anywhere, defenses))
        self.ready, self.running = deque[_Work](), dict[Future[Report], _Running]()
        self.packed: tuple[object, bytes] = (None, b"")

    def run(self) -> Counter[str]:
        """Run all groups; how many cells ended in which way.

        Raises:
            UsageError: a worker runs other code, or the results cannot be written.
        """
        try:
            while self.queue or self.ready or self.running:
                while len(self.running) < self.backend.slots and (work := self._next()):
                    self._submit(work)
                if not self.running:
                    self.queue.wait()
                    continue
                done, _ = wait(self.running, PERIOD, FIRST_COMPLETED)
                for running in self.running.values():
                    self._replay(running)
                for future in done:
                    self._ended(self.running.pop(future), self.backend.result(future))
        finally:
            for running in self.running.values():
                running.journal.remove()
            for work in {id(work): work for work in self._open_work()}.values():
                work.opened.lock.release()
        return self.queue.ended

    def _open_work(self) -> Iterator[_Work]:
        """What is left where an error ends the run."""
        yield from self.ready
        yield from (running.work for running in self.running.values())

    def _next(self) -> _Work | None:
        """Whatever waits for a worker."""
        while self.ready:
            work = self.ready[0]
            if work.pieces:
                return work
            self.ready.popleft()
            if not work.making:  # else the last piece brings it back
                return self._shared_out(work)
        opened = self.queue.next()
        if opened is None:
            return None
        work = self._begun(opened)
        if not work.pieces:
            return self._shared_out(work)
        self.ready.append(work)
        return work

    def _begun(self, opened: OpenGroup) -> _Work:
        """A group, with the examples that several workers can make before its cells."""
        work, cells = _Work(opened, set(opened.group.todo)), opened.group.cells
        try:
            if self._is_shared(opened):
                request, examples = opened.inputs.static_request(cells[0]), opened.inputs.examples
                work.pieces.extend(examples.missing(request))
                if one_by_one(request.attack, request.batch.images) and examples.keeps(request):
                    work.static = request
        except UsageError:
            raise
        except Exception:  # the cell meets the same, and its record says so
            return work
        if work.static and work.pieces and captured_draws(cells):
            work.pieces.append(SHOWN)
        return work

    def _is_shared(self, opened: OpenGroup) -> bool:
        """Whether one costly attack is all there is, and there are workers to share it."""
        cell, inputs = opened.group.cells[0], opened.inputs
        one_attack = len({cell.attack for cell in opened.group.todo}) == 1
        one_attack &= self.settings.verdicts == "all"  # else only some of the images are attacked
        costly = is_costly(inputs.attacks[cell.attack])
        alone = self.backend.slots == 1 or self.settings.limited
        return costly and one_attack and not alone and cannot_run(cell, inputs) is None

    def _shared_out(self, work: _Work) -> _Work:
        """One of its cells, the others next, where workers share adapted models; else all of it.

        Not where adapting is what costs, since each of them makes all models.
        """
        static, cells = work.static, work.opened.group.cells
        costs = any(
            one.budget.knowledge == "simulated" or one.budget.amplify or len(one.arrivals) > 1
            for one in cells
        )
        if static is None or costs or work.alone or work.opened.inputs.examples.missing(static):
            work.spent, work.shown = _sum(work.spent, work.shown), (0, 0, 0.0)
            return work
        wanted = [cell for cell in cells if cell in work.todo]
        parts = [_Work(part, set(part.group.todo)) for part in work.opened.split(wanted)]
        parts[0].spent = work.spent
        adapts = next((part for part in parts if captured_draws([*part.todo])), parts[0])
        adapts.spent = _sum(adapts.spent, work.shown)
        self.ready.extendleft(reversed(parts[1:]))
        return parts[0]

    def _submit(self, work: _Work) -> None:
        piece = work.pieces.popleft() if work.pieces else None
        work.making += piece is not None
        group = work.opened.group._replace(todo=frozenset(work.alone or work.todo))
        journal = open_journal(self.settings.results)
        task = WorkerTask(self.settings, self.defenses, group, journal, piece, work.spent)
        cell = group.cells[0]
        key, (whole, _) = trained_name(cell), self.loader.data(cell)
        if self.packed[0] != key:
            self.packed = key, pack(work.opened.inputs.trained)
        future = self.backend.submit(key, code_version(), pickle.dumps(task), whole, self.packed[1])
        self.running[future] = _Running(work, piece, JournalReader(journal))

    def _replay(self, running: _Running) -> None:
        """Pass on what a worker has written down since the last look."""
        for event in running.journal.read():
            self._hear(running, event)

    def _hear(self, running: _Running, event: Event) -> None:
        cells, values = running.work.opened.group.cells, event.values
        if event.kind == "begun":
            running.begun, running.at = cells[values[0]], event.at
            self.listener.begun(running.begun)
        elif event.kind == "finished":
            number, status, reason = values
            running.work.todo.discard(cells[number])
            self.queue.ended[status] += 1
            self.listener.finished(cells[number], status, reason)
        elif event.kind == "note":
            self.listener.note(*values)
        elif event.kind == "over":
            (running.over,) = values
        else:
            work = running.work
            if running.piece == SHOWN:
                work.shown = _sum(work.shown, values)
            else:
                work.spent = _sum(work.spent, values)

    def _ended(self, running: _Running, result: Report | str) -> None:
        """What becomes of a group when a worker is through with it, or dead."""
        self._replay(running)
        running.journal.remove()
        work = running.work
        before = len(work.todo)
        if isinstance(result, Report):
            self._take(running, result)
        if running.piece is not None:
            self._piece_ended(running, result)
            return
        if isinstance(result, str):
            self._died(running, result)
        elif work.todo and len(work.todo) == before and not work.alone and running.begun is None:
            self._died(running, "a worker ended before its cells")
        else:
            work.alone = []
        if work.todo:
            self.ready.append(work)
        else:
            work.opened.lock.release()

    def _take(self, running: _Running, report: Report) -> None:
        """What came back with the result, as it does where no disk is shared."""
        if report.refused:
            raise UsageError(report.refused)
        for event in report.events:
            self._hear(running, event)
        for finished in report.finished:
            running.work.todo.discard(finished.record.cell)
            self.queue.ended[save(self.settings, finished, self.listener)] += 1

    def _piece_ended(self, running: _Running, result: Report | str) -> None:
        work = running.work
        work.making -= 1
        if isinstance(result, str):
            self.listener.note(f"{result}; trying again: {work.opened.group.cells[0]}")
            work.pieces.clear()  # the group makes its own
        if not work.making and not work.pieces and work not in self.ready:
            self.ready.appendleft(work)

    def _died(self, running: _Running, how: str) -> None:
        """Try the cells it was at once more, alone; or say in their records that they failed."""
        work, seconds = running.work, time.time() - running.at if running.at else 0.0
        cells = [cell for step in work.opened.group.steps for cell in step if cell in work.todo]
        begun = running.begun if running.begun in work.todo else cells[0]
        step = next(step for step in work.opened.group.steps if begun in step)
        lost = [cell for cell in step if cell in work.todo]
        most = self.settings.cell_time
        if most is not None and seconds > most and not running.over:
            running.over = over_time(most)
        if not (running.over or work.alone):
            work.alone = lost
            self.listener.note(f"{how}; trying again: {begun}")
            return
        why = running.over or f"{how}, twice while it ran this cell"
        flags = work.opened.inputs.trained.flags
        self.queue.fail(lost, OverLimit(why), seconds, flags)
        work.todo.difference_update(lost)
        work.alone = []
