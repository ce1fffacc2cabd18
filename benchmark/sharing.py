"""Shares the cells out among workers, and writes down what comes back: the driver of a run.

The unit of work is the cells of one trained model that is shown the same attacks, mostly the one
that is scored: they share static examples and adapted models.
What a worker reports is written at once, so a kill loses at most the cells in flight. A worker that
dies costs the cell it was at: that one runs again alone, and if it takes another worker with it, it
ends `failed`; nothing else is lost.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from benchmark.bookkeeping import failed_record, is_finished, keep
from benchmark.claims import Claim, claim
from benchmark.core.errors import OverLimit, UsageError
from benchmark.core.records import Cell
from benchmark.evaluation import Meter
from benchmark.lab import Lab
from benchmark.limits import over_time
from benchmark.pictures import Ending
from benchmark.work import Begun, Died, Ended, Event, Refused

PATIENCE = 0.5
"""Seconds between two looks at what other runs hold."""


@dataclass(eq=False)
class Group:
    """Cells that share static examples, claimed by this run; those that have not ended yet."""

    cells: list[Cell]
    planned: list[Cell]
    """All that the plan has of them, finished or not: episodes are made together (see `Lab`)."""
    claim: Claim
    alone: bool = False
    """Whether only the first cell is given to the next worker: the last one died at it."""
    begun: float = 0.0

    @property
    def order(self) -> list[Cell]:
        """What one worker is asked for."""
        return self.cells[: 1 if self.alone else None]


class Backend(Protocol):
    """Workers of some kind."""

    def has_room(self) -> bool:
        """Whether another group may begin."""

    def begin(self, group: Group) -> None:
        """Give `group.order` to a worker."""

    def wait(self, seconds: float) -> list[tuple[Group, Event]]:
        """What happened, as soon as something has; nothing if nothing did for so long."""


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
    driver, queue = _Driver(lab), Queue(lab, groups)
    running: set[Group] = set()
    while queue or running:
        while backend.has_room() and (group := queue.next()):
            driver.drop_finished(group)
            if group.cells:
                backend.begin(group)
                running.add(group)
            else:
                group.claim.release()
        if not running:
            if queue:
                queue.wait()
            continue
        for group, event in backend.wait(PATIENCE):
            if driver.handle(group, event):
                running.discard(group)
                if group.cells:
                    queue.again.append(group)
                else:
                    group.claim.release()
    return driver.ended


class _Driver:
    """Writes down what workers report."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.ended = lab, Counter[str]()

    def drop_finished(self, group: Group) -> None:
        """What another run has finished since this one looked."""
        for cell in list(group.cells):
            if is_finished(self.lab, cell):
                self.ended[keep(self.lab, cell, None)] += 1
                group.cells.remove(cell)

    def handle(self, group: Group, event: Event) -> bool:
        """Whether the group is back: its order is done, or its worker gone."""
        if isinstance(event, Refused):
            raise UsageError(event.reason)
        if isinstance(event, Died):
            self._lost(group, event.reason)
            return True
        if isinstance(event, Begun):
            self.lab.watch.cell(event.cell)
            group.begun = time.monotonic()
            return False
        return self._end(group, event)

    def _end(self, group: Group, event: Ended) -> bool:
        for line in event.notes:
            self.lab.watch.note(line)
        last = group.order[-1]
        self.ended[keep(self.lab, event.cell, event.ending)] += 1
        group.cells.remove(event.cell)
        group.begun = 0.0
        if event.cell == last:
            group.alone = False
            return True
        return False

    def _lost(self, group: Group, reason: str) -> None:
        cell, limits = group.cells[0], self.lab.place.limits
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
