"""What a worker is given at a time: a group of cells, or a part of what one needs first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from benchmark.artifacts.examples import Piece
from benchmark.artifacts.locks import Claim
from benchmark.execution.worker import Ended, Event, Job, Made, Order, PieceOrder
from benchmark.results.records import Cell


class Task(Protocol):
    """What one worker is given at a time."""

    @property
    def cell(self) -> Cell:
        """One of those it is about."""

    def order(self, job: Job) -> Order | PieceOrder:
        """What the worker is told."""

    def ends_with(self, event: Event) -> bool:
        """Whether the worker is free after this event."""


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
    pieces: dict[int, Piece | None] = field(default_factory=dict)
    """Those that have come back, of all that were asked for before the group begins."""

    @property
    def cell(self) -> Cell:
        """The next one."""
        return self.cells[0]

    @property
    def asked(self) -> list[Cell]:
        """What one worker is asked for."""
        return self.cells[: 1 if self.alone else None]

    def order(self, job: Job) -> Order:
        """See `Task.order`."""
        found = [self.pieces[number] for number in sorted(self.pieces)]
        whole = [piece for piece in found if piece is not None]
        given = {self.cell.attack: whole} if whole and len(whole) == len(found) else {}
        return Order(job, self.asked, self.planned, given)

    def ends_with(self, event: Event) -> bool:
        """See `Task.ends_with`."""
        return isinstance(event, Ended) and event.cell == self.asked[-1]


@dataclass(eq=False)
class Part:
    """A piece of the static examples of a group."""

    group: Group
    number: int

    @property
    def cell(self) -> Cell:
        """Any of the group."""
        return self.group.cell

    def order(self, job: Job) -> PieceOrder:
        """See `Task.order`."""
        return PieceOrder(job, self.cell, self.number)

    def ends_with(self, event: Event) -> bool:
        """See `Task.ends_with`."""
        return isinstance(event, Made)


class Backend(Protocol):
    """Workers of some kind."""

    def workers(self) -> int:
        """How many may work at once."""

    def has_room(self) -> bool:
        """Whether another task may begin."""

    def begin(self, task: Task) -> None:
        """Give a task to a worker."""

    def wait(self, seconds: float) -> list[tuple[Task, Event]]:
        """What happened, as soon as something has; nothing if nothing did for so long."""
