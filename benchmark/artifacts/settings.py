"""Where a run happens, and who is told how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from benchmark.core.types import Attack, Progress
from benchmark.results.records import Cell, Choice

Reattack = Literal["all", "standing"]


class Limits(NamedTuple):
    """What one cell may take; None is no limit."""

    seconds: float | None = None
    gigabytes: float | None = None
    """Resident memory of the process the cell runs in, all of it, in units of 1e9 bytes."""
    hard: bool = False
    """Whether the process may be ended: true in a worker."""

    @property
    def are_set(self) -> bool:
        """Whether there is any."""
        return self.seconds is not None or self.gigabytes is not None


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
    robust@K, the worse of both per image, is the same. Last bits may depend on how many images
    share a pass, but 0 of 33,000 verdicts flipped (float32, seed 0, 10 steps of finetune; MNIST, an
    adversarially trained LeNet5, K = 10, 5 attacks, n = 500 x 2 episodes; digits, `pgd_at`, K of 1
    and 5, 14 attacks, n = 200 x 5)."""
    limits: Limits = Limits()
    """Of each cell."""
    choices: tuple[Choice, ...] = ()
    """Of `run --tuned`: how defenses adapt, and on what that was chosen."""
    debug: bool = False
    """Whether the traceback of a failed cell is shown."""

    def spares(self, cell: Cell, attack: Attack) -> bool:
        """Whether what stored examples break is not attacked again.

        Not with an attack that deals random numbers to the batch as it comes: among fewer images
        each would get others, which flipped 9 of 461 verdicts of Auto-PGD from torchattacks (20
        steps, linf 0.3, an adversarially trained LeNet5 on MNIST).
        """
        return self.reattack == "standing" and cell.budget.adapts and attack.by_image

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
