"""Where a run happens, and who is told how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from benchmark.core.records import Cell, Choice
from benchmark.core.types import Progress
from benchmark.limits import Limits

Reattack = Literal["all", "standing"]


class Place(NamedTuple):
    """Where a run happens."""

    results: Path
    data_dir: Path | None = None
    download: bool = False
    device: str = "cpu"
    command: str = ""
    cache: Path | None = None
    """Where crafted examples are kept; None keeps none."""
    cache_limit: int = 0
    """Bytes."""
    precision: str = "float32"
    """Of the passes attacks make; what counts as broken is always seen in float32."""
    reattack: Reattack = "all"
    """Which images are attacked again: all, or only those that the stored examples leave standing.
    robust@K, the worse of both per image, is the same (of library attacks that draw random numbers
    for a whole batch: as good, not the same)."""
    limits: Limits = Limits()
    """Of each cell."""
    choices: tuple[Choice, ...] = ()
    """Of `run --tuned`: how defenses adapt, and on what that was chosen."""
    debug: bool = False
    """Whether the traceback of a failed cell is shown."""

    def spares(self, cell: Cell) -> bool:
        """Whether what stored examples break is not attacked again."""
        return self.reattack == "standing" and cell.budget.adapts

    def choice(self, cell: Cell) -> Choice | None:
        """The choice that a cell's adaptation comes from."""
        return next((one for one in self.choices if one.is_of(cell)), None)


class Watch(Protocol):
    """Who is told how far a run is."""

    def training(self, what: str) -> Progress:
        """Training begins; returns where to report its share done."""

    def cell(self, cell: Cell) -> None:
        """A cell begins."""

    def finished(self, cell: Cell, status: str, reason: str | None) -> None:
        """A cell has ended, or was found `cached`."""

    def note(self, line: str) -> None:
        """Something worth a line: a stale record, an unreadable file."""
