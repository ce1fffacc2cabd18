"""All about a run that is not part of a cell: one value, from the command line to a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from benchmark.core.types import Attack, Progress
from benchmark.results.cells import Own
from benchmark.results.records import Cell, Choice

Reattack = Literal["all", "standing"]
Scope = Literal["all", "union"]
Executor = Literal["auto", "here", "processes", "ray"]


class RunSettings(BaseModel):
    """Where a run happens, how exactly it computes, and who computes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    results: Path = Path("results")
    data_dir: Path | None = None
    download: bool = False
    device: str = "cpu"
    command: str = ""
    """As the user typed it: for the records."""
    own: Own = Own()
    """What the user brought."""
    strengths: str = ""
    """Content of the file of --strengths."""
    cache: Path | None = None
    """Where crafted examples are kept; None is `cache` in the results."""
    no_cache: bool = False
    """Whether none are kept."""
    cache_limit: int = 2_000_000_000
    """Bytes."""
    precision: str = "float32"
    """Of the passes attacks make; what counts as broken is always seen in float32."""
    reattack: Reattack = "all"
    """Which images are attacked again: all, or only those that the stored examples leave standing.
    robust@K, the worse of both per image, is the same. Last bits may depend on how many images
    share a pass, but 0 of 33,000 verdicts flipped (float32, seed 0, 10 steps of finetune; MNIST, an
    adversarially trained LeNet5, K = 10, 5 attacks, n = 500 x 2 episodes; digits, `pgd_at`, K of 1
    and 5, 14 attacks, n = 200 x 5)."""
    verdicts: Scope = "all"
    """Of each attack on all images, or of a family together: `benchmark.protocol.family`."""
    rule: bool = False
    """Whether adapted models are attacked too by who knows the rule: `benchmark.protocol.rule`."""
    choices: tuple[Choice, ...] = ()
    """Of `run --tuned`: how defenses adapt, and on what that was chosen."""
    debug: bool = False
    """Whether the traceback of a failed cell is shown."""
    executor: Executor = "auto"
    jobs: int | None = None
    """Processes, or tasks of Ray at once; None is as many as there is room for."""
    address: str | None = None
    """Of a Ray that runs; None starts one on this machine."""
    gpus_per_task: float | None = None
    """Share of a GPU for each task of Ray; None chooses."""
    threads: int | None = None
    """Of torch, in each process; None chooses."""
    cell_time: float | None = None
    """Seconds that a cell may take; None is no limit."""
    cell_memory: float | None = None
    """Resident memory of the process a cell runs in, all of it, in units of 1e9 bytes."""

    @property
    def cache_folder(self) -> Path | None:
        """Where crafted examples are kept; None keeps none."""
        return None if self.no_cache else self.cache or self.results / "cache"

    @property
    def limited(self) -> bool:
        """Whether cells have a limit."""
        return self.cell_time is not None or self.cell_memory is not None

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

    def anywhere(self) -> RunSettings:
        """The same with paths that mean the same in another working directory."""
        paths = {name: getattr(self, name) for name in ("results", "data_dir", "cache")}
        absolute = {name: path and path.absolute() for name, path in paths.items()}
        return self.model_copy(update=absolute)


class ProgressListener:
    """Is told how far a run is; this one keeps it to itself."""

    def training(self, what: str) -> Progress:
        """Training begins; returns where to report its share done."""
        return lambda share: None

    def loaded(self, what: str) -> None:
        """A model that was trained elsewhere is there."""

    def begun(self, cell: Cell) -> None:
        """A cell begins."""

    def finished(self, cell: Cell, status: str, reason: str | None) -> None:
        """A cell has ended, or was found `cached`."""

    def note(self, line: str) -> None:
        """Something worth a line: a stale record, an unreadable file."""
