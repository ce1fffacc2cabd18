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
from typing import Protocol, Self

from benchmark.core.errors import OverLimit, UsageError
from benchmark.data.splits import Dataset
from benchmark.evaluation.batch_size import COSTLY
from benchmark.execution.journal import Event, JournalReader, open_journal
from benchmark.execution.limits import over_time
from benchmark.execution.loading import trained_name
from benchmark.execution.queue import GroupQueue, OpenGroup
from benchmark.execution.worker import Report, WorkerTask, anywhere, pack
from benchmark.identity.fingerprint import code_version
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


@dataclass
class _Work:
    """A group that is shared out."""

    opened: OpenGroup
    todo: set[Cell]
    pieces: deque[int]
    """Of the static examples that are to be made before its cells, by number."""
    making: int = 0
    """Pieces that workers are at."""
    alone: list[Cell] = field(default_factory=list)
    """The only ones that the next worker gets: the last one died at them."""
    spent: tuple[int, int, float] = (0, 0, 0.0)


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
                return work
        opened = self.queue.next()
        if opened is None:
            return None
        work = _Work(opened, set(opened.group.todo), deque(self._pieces(opened)))
        if work.pieces:
            self.ready.append(work)
        return work

    def _pieces(self, opened: OpenGroup) -> list[int]:
        """The static examples that several workers can make before the group begins."""
        inputs, cell = opened.inputs, opened.group.cells[0]
        one_attack = len({cell.attack for cell in opened.group.todo}) == 1
        one_attack &= self.settings.verdicts == "all"  # else only some of the images are attacked
        costly = inputs.attacks[cell.attack].passes >= COSTLY
        if self.backend.slots == 1 or self.settings.limited or not (costly and one_attack):
            return []
        try:
            if cannot_run(cell, inputs) is not None:
                return []
            return inputs.examples.missing(inputs.static_request(cell))
        except UsageError:
            raise
        except Exception:  # the cell meets the same, and its record says so
            return []

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
            pairs = zip(running.work.spent, values, strict=True)
            running.work.spent = tuple(before + more for before, more in pairs)

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
