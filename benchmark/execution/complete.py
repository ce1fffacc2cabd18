"""Brings the cells of a group to their end, whatever happens in one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from benchmark.core.errors import UsageError, contained, heard_by
from benchmark.core.isolation import kept
from benchmark.evaluation.verdicts import Meter
from benchmark.execution.loading import InputLoader
from benchmark.protocol.family import run_family
from benchmark.protocol.group import Group, run_group
from benchmark.protocol.inputs import Inputs
from benchmark.protocol.pictures import FinishedCell
from benchmark.protocol.recording import failed_record
from benchmark.results.records import Cell

Save = Callable[[FinishedCell], object]
Limit = Callable[[], AbstractContextManager[object]]


def complete_group(
    group: Group, inputs: Inputs, loader: InputLoader, save: Save, limit: Limit,
    meter: Meter | None = None,
) -> None:  # fmt: skip
    """Run the wanted cells of a group, and save each as soon as it has ended.

    What raises in a cell becomes `failed`, with the cells that are made together with it: a crash
    is never robustness. The others go on with a model that nobody has written to.

    Args:
        group: its cells.
        inputs: what they are evaluated with.
        loader: gives the trained model anew where a cell spoilt it, and listens.
        save: what is done with each finished cell.
        limit: what every cell runs inside.
        meter: what others have spent on them already.

    Raises:
        UsageError: nothing that follows could do better; the user has to act.
    """
    steps, todo = group.steps, set(group.todo)
    run = run_family if inputs.settings.verdicts == "union" else run_group
    results: Iterator[FinishedCell] | None = run(group, inputs, meter)
    while todo:
        step = next(cells for cells in steps if todo & set(cells))
        begun = [cell for cell in step if cell in todo]
        loader.listener.begun(begun[0])
        begin = time.monotonic()
        try:
            with limit(), contained(), kept(), heard_by(loader.listener.note):
                if results is None:  # an iterator that raised is at its end
                    inputs = replace(inputs, trained=loader.model(begun[0]))
                    results = run(group._replace(todo=frozenset(todo)), inputs)
                finished = [next(results)]
        except UsageError:
            raise
        except Exception as error:
            spent, results = Meter(seconds=time.monotonic() - begin), None
            finished = [_failed(cell, inputs, spent, error) for cell in begun]
            loader.drop_spoiled()
        for one in finished:
            todo.remove(one.record.cell)
            save(one)


def _failed(cell: Cell, inputs: Inputs, meter: Meter, error: Exception) -> FinishedCell:
    flags = inputs.trained.flags
    told = failed_record(cell, inputs.settings, inputs.attacks, inputs.defense, meter, error, flags)
    return FinishedCell(told)
