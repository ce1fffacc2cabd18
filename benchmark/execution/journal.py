"""What a worker tells the driver while it works: lines of JSON in a file of its own.

A worker that dies has said what it had begun. On a machine that does not share the results folder
there is no such file: there the lines, and the records, come back with the result of the task.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmark.artifacts.settings import ProgressListener
from benchmark.results.records import Cell
from benchmark.results.store import PREFIX, TEMPORARY, check_writable

FOLDER = "running"
"""Of journals, in the results folder."""

Kind = Literal["begun", "finished", "note", "over", "spent"]


class Event(NamedTuple):
    """One line."""

    kind: Kind
    at: float
    """Seconds since 1970."""
    values: tuple[Any, ...] = ()
    """begun: number of the cell; finished: that, status and reason; note, over: text; spent:
    passes forwards and backwards, and seconds."""


class Journal(ProgressListener):
    """Writes down what a worker would tell a listener."""

    def __init__(self, path: Path | None, cells: Sequence[Cell]) -> None:
        """`path`: of a file that is there; None keeps the events in memory."""
        self.path, self.events = path, list[Event]()
        self.numbers = {cell: number for number, cell in enumerate(cells)}

    def write(self, kind: Kind, *values: object) -> None:
        """One event, in one write: lines of a file are whole."""
        event = Event(kind, time.time(), values)
        if self.path is None:
            self.events.append(event)
            return
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, (json.dumps(event) + "\n").encode())
        finally:
            os.close(file)

    def begun(self, cell: Cell) -> None:
        """See `ProgressListener`."""
        self.write("begun", self.numbers[cell])

    def finished(self, cell: Cell, status: str, reason: str | None) -> None:
        """See `ProgressListener`."""
        self.write("finished", self.numbers[cell], status, reason)

    def note(self, line: str) -> None:
        """See `ProgressListener`."""
        self.write("note", line)

    def over(self, reason: str) -> None:
        """The cell is over a limit: this process ends now."""
        self.write("over", reason)


class JournalReader:
    """Reads a file of events as it grows."""

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, 0

    def read(self) -> list[Event]:
        """What is new."""
        with self.path.open("rb") as opened:
            opened.seek(self.place)
            content = opened.read()
        whole = content[: content.rfind(b"\n") + 1]
        self.place += len(whole)
        return [Event(*json.loads(line)) for line in whole.splitlines()]

    def remove(self) -> None:
        """It has been read."""
        self.path.unlink(missing_ok=True)


def open_journal(results: Path) -> Path:
    """A new file for a task; one that a kill leaves behind is swept like any temporary file.

    Raises:
        UsageError: nobody may write there.
    """
    folder = results / FOLDER
    check_writable(results)
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=PREFIX, suffix=TEMPORARY)
    os.close(handle)
    return Path(name)
