"""What one finished cell says: schema 1, one JSON file a cell, validated on write and on read."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from benchmark.core.cells import Budget, Cell, Choice, Frozen, Knowledge, Method, Scored

__all__ = ["Budget", "Cell", "Choice", "Knowledge", "Method", "Scored"]
"""Of `benchmark.core.cells`, which records are about."""

SCHEMA: Literal[1] = 1

Status = Literal["done", "skipped", "failed"]
Share = Annotated[float, Field(ge=0, le=1)]


class Verdicts(Frozen):
    """True/false per episode and query image, packed: one bit each, base64."""

    episodes: int
    n: int
    bits: str

    @classmethod
    def pack(cls, table: np.ndarray) -> Self:
        """From a bool array (episodes, n)."""
        episodes, n = table.shape
        packed = np.packbits(table.astype(bool))
        return cls(episodes=episodes, n=n, bits=base64.b64encode(packed.tobytes()).decode())

    def unpack(self) -> np.ndarray:
        """Back to a bool array (episodes, n)."""
        raw = np.frombuffer(base64.b64decode(self.bits), dtype=np.uint8)
        flat = np.unpackbits(raw, count=self.episodes * self.n).astype(bool)
        return flat.reshape(self.episodes, self.n)

    @model_validator(mode="after")
    def _length(self) -> Self:
        expected = (self.episodes * self.n + 7) // 8
        found = len(base64.b64decode(self.bits, validate=True))
        if found != expected:
            raise ValueError(
                f"verdicts hold {found} bytes; "
                f"{self.episodes} episodes x {self.n} images need {expected}"
            )
        return self


class Cost(Frozen):
    """What the cell took. Passes count images; shared work is booked on the cell that did it.

    Examples that were found in the cache cost no passes: they were booked when they were crafted.
    """

    seconds: float = Field(default=0.0, ge=0)
    forwards: int = Field(default=0, ge=0)
    backwards: int = Field(default=0, ge=0)


class Effort(Cost):
    """What learning took, in training or in one episode of adaptation."""

    images: int = Field(default=0, ge=0)
    """Labelled images learnt from, each as often as it was shown."""
    updates: int = Field(default=0, ge=0)
    """Steps of the optimiser."""

    @property
    def passes(self) -> int:
        """Of images through the network, forward and backward."""
        return self.forwards + self.backwards

    def __add__(self, other: Effort) -> Effort:
        """One after the other."""
        return Effort(**{name: getattr(self, name) + getattr(other, name) for name in EFFORT})


EFFORT = tuple(Effort.model_fields)


class Integrity(Frozen):
    """That adaptation moved parameters of a copy and nothing else, and saw no scored image.

    How far the parameters moved is in `Outcome.moved`.
    """

    buffers_moved: list[float]
    """Per episode, the largest change of a buffer: 0."""
    base: tuple[str, str]
    """State hash of the trained model before and after the cell: equal."""
    shared: list[int]
    """Per episode, images of the published data that were both shown and scored: 0."""
    loss_fell: Share | None
    """Share of episodes whose loss on the shown examples fell; None where nothing adapts."""

    @model_validator(mode="after")
    def _holds(self) -> Self:
        if any(self.buffers_moved):
            raise ValueError(f"buffers moved by {max(self.buffers_moved)} during adaptation")
        if self.base[0] != self.base[1]:
            raise ValueError(f"the trained model changed, from {self.base[0]} to {self.base[1]}")
        if any(self.shared):
            raise ValueError(f"{max(self.shared)} images were both shown and scored")
        return self


def fell(losses: Sequence[tuple[float, float]]) -> float:
    """Share of episodes whose support loss (before, after) fell.

    >>> fell([(2.0, 1.0), (1.0, 1.0), (1.0, 3.0), (1.0, 0.5)])
    0.5
    """
    return sum(after < before for before, after in losses) / len(losses)


class Outcome(Frozen):
    """The verdicts of a cell: was the image classified correctly. DESIGN section 3 of the words.

    `clean_before` and `before` (= robust@0) belong to the trained model and have one row; the
    others belong to the adapted models and have a row per episode.
    """

    clean_before: Verdicts
    before: Verdicts
    clean: Verdicts
    static: Verdicts
    reattacked: Verdicts
    moved: list[float]
    """Per episode, ||adapted - trained|| / ||trained|| over the parameters."""
    support_loss: list[tuple[float, float]]
    """Per episode, loss on the shown examples before and after adaptation."""
    adaptation: list[Effort] = []
    """Per episode, what adapting took: passes of the inner loop, and of the attack where the
    defender runs it. Seconds are not kept, since episodes adapt together; empty: not known."""
    outside: int = Field(default=0, ge=0)
    """Minimum-norm proposals over budget, all runs together: there the attack counts as failed."""
    integrity: Integrity | None = None
    """None in records of before it was kept."""

    @model_validator(mode="after")
    def _integrity_agrees(self) -> Self:
        found, episodes = self.integrity, self.static.episodes
        if found is None:
            return self
        if not len(found.buffers_moved) == len(found.shared) == len(self.moved) == episodes:
            raise ValueError(f"integrity of other than the {episodes} episodes there are")
        if found.loss_fell not in (None, fell(self.support_loss)):
            raise ValueError(f"loss_fell is {found.loss_fell}, not {fell(self.support_loss)}")
        return self

    def is_unadapted(self) -> bool:
        """Whether the verdicts are those of the trained model throughout."""
        return self.clean == self.clean_before and self.before == self.static == self.reattacked


class Provenance(Frozen):
    """Enough to make the record again and to see why it went stale."""

    command: str
    attack_options: dict[str, Any]
    defense_options: dict[str, Any]
    adaptation: dict[str, Any]
    versions: dict[str, str]
    shown_options: dict[str, dict[str, Any]] = {}
    """Of the attacks shown, by name, where they are not the scored one."""
    commit: str | None
    device: str
    created: str
    tuned: Choice | None = None
    """Where `adaptation` was chosen by `run --tuned`: how."""


class Record(Frozen):
    """What a finished cell says. Status `done` has an outcome; the others have a reason instead."""

    schema_version: Literal[1] = SCHEMA
    cell: Cell
    status: Status
    reason: str | None = None
    traceback: str = ""
    """Of what a failed cell raised; empty where nothing did in a process that lived to tell."""
    family: str
    """Of the scored attack, and so are `threat`, `norm`, `origin` and `unseen`."""
    families_shown: list[str] = []
    """Of the attacks shown, first to last; empty where nothing adapts."""
    threat: str
    norm: str
    origin: str
    unseen: bool | None = None
    trained_on: list[str] | None = None
    query: str = ""
    """Hash of the test images; the first n are scored. Where it is equal, verdicts pair."""
    outcome: Outcome | None = None
    cost: Cost = Cost()
    training: Effort | None = None
    """Of the defense and of those it started from, once per trained model; None: not known."""
    probes: dict[str, float | None] = {}
    """What training measured of itself, by name; None where it does not apply."""
    flags: list[str] = []
    provenance: Provenance
    fingerprint: dict[str, str]
    """Short hashes by part (options, data, weights, source ...): where one differs, it is stale."""

    @model_validator(mode="after")
    def _status_agrees(self) -> Self:
        if (self.status == "done") != (self.outcome is not None):
            raise ValueError(f"a record with status {self.status!r} and outcome {self.outcome!r}")
        if self.status != "done" and not self.reason:
            raise ValueError(f"a record with status {self.status!r} must say why in `reason`")
        return self

    @model_validator(mode="after")
    def _nothing_adapts_without_shots(self) -> Self:
        if self.outcome is None or self.outcome.integrity is None:
            return self
        adapts = self.cell.budget.adapts
        if adapts != (self.outcome.integrity.loss_fell is not None):
            raise ValueError(f"budget {self.cell.budget} and integrity disagree on adaptation")
        if not adapts and not (self.outcome.is_unadapted() and not any(self.outcome.moved)):
            raise ValueError("nothing adapts, yet the verdicts are not those of the trained model")
        return self


def short_hash(*parts: object) -> str:
    """16 hexadecimal digits of the SHA-256 of the parts' text."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:16]
