"""Shares the cells out among workers, and writes down what comes back: the driver of a run.

The unit of work is the cells of one trained model that is shown the same attacks, mostly the one
that is scored: they share static examples and adapted models. Where an attack is so costly that its
static examples go in pieces, any worker may make a piece, before the cells begin.
What a worker reports is written at once, so a kill loses at most the cells in flight. A worker that
dies costs the cell it was at: that one runs again alone, and if it takes another worker with it, it
ends `failed`; nothing else is lost.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator

from benchmark.artifacts.locks import claim
from benchmark.core.errors import OverLimit, UsageError
from benchmark.evaluation.batch_size import COSTLY
from benchmark.evaluation.verdicts import Meter
from benchmark.execution.limits import over_time
from benchmark.execution.tasks import Backend, Group, Part, Task
from benchmark.execution.worker import Begun, Died, Ended, Event, Made, Refused
from benchmark.protocol.cell import cannot_run
from benchmark.protocol.pictures import Ending
from benchmark.protocol.recording import failed_record, is_finished, keep
from benchmark.protocol.workspace import Lab
from benchmark.results.records import Cell

PATIENCE = 0.5
"""Seconds between two looks at what other runs hold."""


class Queue:
    """Groups in order; those that another run works on go to the end, until they are free."""

    def __init__(self, lab: Lab, groups: Iterable[list[Cell]]) -> None:
        self.lab, self.open, self.again = lab, deque(groups), deque[Group]()
        self.told = False
        self.planned = defaultdict[str, list[Cell]](list)
        for cell in lab.plan.cells:
            self.planned[group_name(cell)].append(cell)

    def __bool__(self) -> bool:
        return bool(self.open or self.again)

    def next(self) -> Group | None:
        """The next group, claimed; None if there is none that another run does not hold."""
        if self.again:
            return self.again.popleft()
        for _ in range(len(self.open)):
            cells = self.open.popleft()
            self.lab.dataset(cells[0])  # what is wrong with it is said before anything is written
            name = group_name(cells[0])
            held = claim(self.lab.place.results, name, self.lab.watch.note)
            if held is not None:
                return Group(list(cells), self.planned[name], held)
            self.open.append(cells)
        return None

    def each(self) -> Iterator[Group]:
        """All groups, one at a time, waiting for other runs at the end; each is released after."""
        while self:
            group = self.next()
            if group is None:
                self.wait()
                continue
            try:
                yield group
            finally:
                group.claim.release()

    def wait(self) -> None:
        """Another run holds all that is left."""
        if not self.told:
            self.lab.watch.note(
                f"another run on {self.lab.place.results} works on the rest: waiting for it"
            )
            self.told = True
        time.sleep(PATIENCE)


def group_name(cell: Cell) -> str:
    """Equal for the cells of one trained model that is shown the same attacks."""
    trained = f"{cell.dataset}-{cell.network}-{cell.defense}-s{cell.seed}"
    return f"{trained}-{'+'.join(cell.arrivals)}"


def share_out(lab: Lab, groups: Iterable[list[Cell]], backend: Backend) -> Counter[str]:
    """Run all groups; how many cells ended in which way.

    Raises:
        UsageError: a worker runs other code, or the results cannot be written.
    """
    driver = _Driver(lab, Queue(lab, groups), backend.workers() > 1)
    while driver.queue or driver.parts or driver.running:
        while backend.has_room() and (task := driver.next()):
            backend.begin(task)
            driver.running.add(task)
        if driver.running:
            for task, event in backend.wait(PATIENCE):
                driver.handle(task, event)
        elif driver.queue:
            driver.queue.wait()
    return driver.ended


class _Driver:
    """Chooses what is next, and writes down what workers report."""

    def __init__(self, lab: Lab, queue: Queue, several: bool) -> None:
        self.lab, self.queue, self.several = lab, queue, several
        self.ended, self.running, self.parts = Counter[str](), set[Task](), deque[Part]()

    def next(self) -> Task | None:
        """What the next worker is given; None if there is nothing now."""
        while not self.parts and (group := self.queue.next()):
            self._drop_finished(group)
            if not group.cells:
                group.claim.release()
            elif not group.pieces and self.several and (count := self._pieces(group)) > 1:
                self.parts.extend(Part(group, number) for number in range(count))
            else:
                return group
        return self.parts.popleft() if self.parts else None

    def _pieces(self, group: Group) -> int:
        """In how many its static examples are made before it begins; 0 if it makes its own."""
        cell, lab = group.cell, self.lab
        costly = lab.attack(cell).passes >= COSTLY
        one_attack = len({cell.attack for cell in group.cells}) == 1
        if lab.place.limits.are_set or not (costly and one_attack):  # limits are of whole cells
            return 0
        try:
            return lab.static_pieces(cell) if cannot_run(lab, cell) is None else 0
        except UsageError:
            raise
        except Exception:  # the cell meets the same, and its record says so
            return 0

    def _drop_finished(self, group: Group) -> None:
        """What another run has finished since this one looked."""
        for cell in list(group.cells):
            if self._is_finished(cell):
                self.ended[keep(self.lab, cell, None)] += 1
                group.cells.remove(cell)

    def _is_finished(self, cell: Cell) -> bool:
        try:
            return is_finished(self.lab, cell)
        except UsageError:
            raise
        except Exception:  # its model cannot be had any more: the cell meets the same
            return False

    def handle(self, task: Task, event: Event) -> None:
        """Write down what a worker says; raises UsageError if it refuses."""
        if isinstance(event, Refused):
            raise UsageError(event.reason)
        if isinstance(event, Begun):
            self.lab.watch.cell(event.cell)
        if isinstance(task, Part):
            self._handle_part(task, event)
        elif isinstance(task, Group) and self._handle_group(task, event):
            self.running.discard(task)
            if task.cells:
                self.queue.again.append(task)
            else:
                task.claim.release()

    def _handle_part(self, part: Part, event: Event) -> None:
        if isinstance(event, Begun):
            return
        if isinstance(event, Died):
            self.lab.watch.note(f"{event.reason}; trying again: {part.cell}")
        self.running.discard(part)
        group, piece = part.group, event.piece if isinstance(event, Made) else None
        group.pieces[part.number] = piece
        if piece is None:  # the group makes its own, and its records say what is wrong
            self.parts = deque(other for other in self.parts if other.group is not group)
        waiting = [*self.running, *self.parts]
        if not any(isinstance(other, Part) and other.group is group for other in waiting):
            self.queue.again.appendleft(group)

    def _handle_group(self, group: Group, event: Event) -> bool:
        """Whether the group is back: its order is done, or its worker gone."""
        if isinstance(event, Died):
            self._lost(group, event.reason)
            return True
        if isinstance(event, Ended):
            return self._end(group, event)
        group.begun = time.monotonic()
        return False

    def _end(self, group: Group, event: Ended) -> bool:
        for line in event.notes:
            self.lab.watch.note(line)
        back = group.ends_with(event)
        self.ended[keep(self.lab, event.cell, event.ending)] += 1
        group.cells.remove(event.cell)
        group.begun = 0.0
        if back:
            group.alone = False
        return back

    def _lost(self, group: Group, reason: str) -> None:
        cell, limits = group.cell, self.lab.place.limits
        seconds = time.monotonic() - group.begun if group.begun else 0.0
        late = limits.seconds is not None and seconds > limits.seconds
        if not (late or group.alone):
            group.alone = True
            self.lab.watch.note(f"{reason}; trying again: {cell}")
            return
        why = over_time(limits) if late else f"{reason}, twice while it ran this cell"
        result = failed_record(self.lab, cell, Meter(seconds=seconds), OverLimit(why))
        self.ended[keep(self.lab, cell, Ending(result))] += 1
        group.cells.remove(cell)
        group.alone = False
