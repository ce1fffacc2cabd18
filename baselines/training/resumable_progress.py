"""How far a training is, told and kept: a killed one goes on from its last snapshot.

    DIR/models/<model>.training.safetensors    tensors; what else there is as JSON in its header
    DIR/models/<model>.<loop>.csv              the log of each loop, which stays

The first is one file, written atomically every minute and removed when the model is finished.
`Defense.fit` is handed a `ResumableProgress` as its `progress`: who only calls it with the share
done need not know.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark.core.errors import UsageError
from benchmark.results.store import atomic_path, slug
from benchmark.results.weights import read_weights, write_weights

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.core.types import Progress

EVERY = 60.0
"""Seconds between two snapshots: at worst so much is done twice."""


class Snapshot(NamedTuple):
    """A training between two of its steps."""

    tensors: dict[str, Tensor]
    notes: dict[str, Any]
    """JSON: steps done, counts."""


class Unusable(Exception):
    """What was kept of a training is nothing to go on from: begin again, with a fresh network."""


class ResumableProgress:
    """Progress of one training, and the file from which a loop in it can go on.

    What `Defense.fit` is handed has no loop yet and keeps nothing: `part` names the loop, since a
    defense that runs two of them must not go on in the wrong one.
    """

    def __init__(self, progress: Progress, path: Path | None = None, loop: str = "") -> None:
        self.progress, self.path, self.loop = progress, path, loop
        self._kept = time.monotonic()

    @classmethod
    def of(cls, progress: Progress) -> ResumableProgress:
        """`progress` itself if it is such, else one that keeps nothing."""
        return progress if isinstance(progress, ResumableProgress) else cls(progress)

    def __call__(self, share: float) -> None:
        """See `Progress`."""
        self.progress(share)

    def part(self, loop: str, begin: float = 0.0, end: float = 1.0) -> ResumableProgress:
        """A loop of the training, whose share runs from `begin` to `end` of the whole."""
        return ResumableProgress(lambda share: self(begin + share * (end - begin)), self.path, loop)

    @property
    def file(self) -> Path | None:
        """Where this loop is kept; None if it is not."""
        return self.path if self.loop else None

    def due(self) -> bool:
        """Whether it is time for another snapshot."""
        return self.file is not None and time.monotonic() - self._kept >= EVERY

    def keep(self, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Replace the snapshot."""
        if self.file is not None:
            text = {"file": self.file.name, "loop": self.loop, "notes": json.dumps(dict(notes))}
            write_weights(self.file, dict(tensors), text)
            self._kept = time.monotonic()

    def log(self, text: str) -> None:
        """Replace the log of this loop."""
        if self.file is not None:
            model = self.file.name.removesuffix(".training.safetensors")
            with atomic_path(self.file.with_name(f"{model}.{slug(self.loop)}.csv"), False) as path:
                path.write_text(text, "utf-8")

    def last(self) -> Snapshot | None:
        """The snapshot of this loop; None if there is none.

        Raises:
            Unusable: what is there is not as it was written.
        """
        if self.file is None:
            return None
        try:
            found = read_weights(self.file)
            if found is None or found.notes.get("loop") != self.loop:
                return None
            if found.notes.get("file") != self.file.name:
                raise ValueError("it is of another training")
            return Snapshot(found.tensors, json.loads(found.notes.get("notes", "null")))
        except UsageError as error:
            raise Unusable(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise Unusable(f"{self.file}: a snapshot that does not fit ({error})") from error
