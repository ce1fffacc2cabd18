"""Who watches a run: bars on a terminal, plain lines in a log file, or nobody."""

from __future__ import annotations

import sys
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.table import Column

from benchmark.artifacts.settings import ProgressListener
from benchmark.core import types
from benchmark.plan import cost
from benchmark.plan.matrix import Plan
from benchmark.results.records import Cell


class QuietProgress(ProgressListener):
    """Tells of failures only."""

    def __init__(self) -> None:
        self.said: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def finished(self, cell: Cell, status: str, reason: str | None) -> None:
        """A failure is said even when quiet."""
        if status == "failed":
            self.note(f"failed: {cell}: {reason}")

    def note(self, line: str) -> None:
        """What several workers have to say alike is said once."""
        if line not in self.said:
            self.said.add(line)
            self._show(line)

    def _show(self, line: str) -> None:
        print(line, file=sys.stderr)


class ProgressBars(QuietProgress):
    """Bars: what is trained, which cell of how many, time left (weighted by what cells cost)."""

    def __init__(self, plan: Plan, console: Console) -> None:
        super().__init__()
        self.console, self.total = console, len(plan.cells)
        self.costs = dict(zip(map(str, plan.cells), cost.costs(plan), strict=True))
        self.done = 0
        whole = Column(no_wrap=True)  # a narrow terminal shortens the names, not the clock
        name = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        columns = TextColumn("{task.description}", table_column=name), BarColumn(bar_width=12)
        times = (
            TimeElapsedColumn(whole), TextColumn("left", table_column=whole),
            TimeRemainingColumn(table_column=whole),
        )  # fmt: skip
        self.bars = Bars(
            *columns, *times, console=console, transient=True, speed_estimate_period=90,
            expand=True, disable=not console.is_terminal,
        )  # fmt: skip
        self.cells = self.bars.add_task("cells", total=sum(self.costs.values()) + self.total)

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bars.stop()

    def training(self, what: str) -> types.Progress:
        """A bar of its own for the time of the training."""
        task = self.bars.add_task(f"training {escape(what)}", total=1.0)

        def report(share: float) -> None:
            if task not in self.bars.task_ids:
                return
            self.bars.update(task, completed=share)
            if share >= 1.0:
                self.bars.remove_task(task)
                self.note(f"trained {what}")

        return report

    def loaded(self, what: str) -> None:
        """Say so."""
        self.note(f"loaded {what}")

    def begun(self, cell: Cell) -> None:
        """Name the cell in flight."""
        name = f"{self.done + 1}/{self.total} {cell.attack} {cell.defense} {cell.budget}"
        self.bars.update(self.cells, description=escape(name))

    def finished(self, cell: Cell, status: str, reason: str | None) -> None:
        """Move on by the cost of the cell."""
        self.done += 1
        self.bars.advance(self.cells, self.costs[str(cell)] + 1)
        first_of_attack = not cell.budget.adapts
        if status == "failed" or (status == "skipped" and first_of_attack):
            self.note(f"{status}: {cell}: {reason}")

    def _show(self, line: str) -> None:
        """Above the bars."""
        self.bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
