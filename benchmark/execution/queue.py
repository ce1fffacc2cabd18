"""The groups of a plan, one after the other: those that another run works on come last."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Self

from benchmark.artifacts.locks import HeldLock, try_lock
from benchmark.core.errors import UsageError
from benchmark.evaluation.verdicts import Meter
from benchmark.execution.loading import InputLoader, by_family, by_group, group_name, trained_name
from benchmark.plan.cost import cost
from benchmark.plan.matrix import Plan
from benchmark.protocol.group import Group
from benchmark.protocol.inputs import Inputs
from benchmark.protocol.pictures import FinishedCell
from benchmark.protocol.recording import failed_record, is_finished, save
from benchmark.results.records import Cell

PATIENCE = 0.5
"""Seconds between two looks at what other runs hold."""


@dataclass
class OpenGroup:
    """A group that this run works on, and no other does."""

    group: Group
    inputs: Inputs
    lock: HeldLock

    def split(self, cells: Sequence[Cell]) -> list[OpenGroup]:
        """The group with each of some cells alone to do; each of these is to be released."""
        for _ in cells[1:]:
            self.lock.again()
        return [replace(self, group=self.group._replace(todo=frozenset([one]))) for one in cells]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.lock.release()


class GroupQueue:
    """Trains what is not trained, and hands out the groups in which something is to do."""

    def __init__(self, plan: Plan, loader: InputLoader, by_cost: bool = False) -> None:
        """`by_cost`: of one trained model, the most expensive first."""
        self.loader, self.ended = loader, Counter[str]()
        union = loader.settings.verdicts == "union"
        groups = by_family(plan.cells, plan.attacks) if union else by_group(plan.cells)
        if by_cost:
            groups = [
                one
                for _, some in groupby(groups, key=lambda cells: trained_name(cells[0]))
                for one in sorted(some, key=lambda cells: -_cost(cells, plan))
            ]
        self.open, self.told = deque(groups), False

    def __bool__(self) -> bool:
        return bool(self.open)

    def next(self) -> OpenGroup | None:
        """The next group; None if another run holds all that are left, or nothing is."""
        settings, note = self.loader.settings, self.loader.listener.note
        for _ in range(len(self.open)):
            cells = self.open.popleft()
            self.loader.data(cells[0])  # what is wrong with it is said before anything is written
            held = try_lock(settings.results, group_name(cells[0]), note)
            if held is None:
                self.open.append(cells)
                continue
            opened = None
            try:
                opened = self._open(cells, held)
            finally:
                if opened is None:
                    held.release()
            if opened is not None:
                return opened
        return None

    def _open(self, cells: tuple[Cell, ...], held: HeldLock) -> OpenGroup | None:
        self.loader.listener.begun(cells[0])
        try:
            inputs = self.loader.inputs(cells[0])
        except UsageError:
            raise
        except Exception as error:  # training failed
            self.fail(cells, error)
            return None
        todo = [cell for cell in cells if not self._finished(inputs, cell)]
        for cell in (cell for cell in cells if cell not in todo):
            self.loader.listener.finished(cell, "cached", None)
            self.ended["cached"] += 1
        return OpenGroup(Group(cells, frozenset(todo)), inputs, held) if todo else None

    def _finished(self, inputs: Inputs, cell: Cell) -> bool:
        try:
            return is_finished(inputs, cell, self.loader.listener.note)
        except UsageError:
            raise
        except Exception:  # its model cannot even be looked at: the cell meets the same
            return False

    def fail(
        self, cells: Sequence[Cell], error: BaseException, seconds: float = 0.0,
        flags: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Write down that cells ended with an error."""
        loader = self.loader
        for cell in cells:
            made = failed_record(
                cell, loader.settings, loader.attacks, loader.defenses[cell.defense],
                Meter(seconds=seconds), error, flags,
            )  # fmt: skip
            self.ended[save(loader.settings, FinishedCell(made), loader.listener)] += 1

    def wait(self) -> None:
        """Another run holds all that is left."""
        if not self.told and self.open:
            results = self.loader.settings.results
            self.loader.listener.note(f"another run on {results} works on the rest: waiting for it")
            self.told = True
        if self.open:
            time.sleep(PATIENCE)


def _cost(cells: Sequence[Cell], plan: Plan) -> int:
    return sum(cost(cell, plan) for cell in cells)
