"""What one finished cell says: schema 3, one JSON file a cell, validated on write and on read.

In its file a record carries the hash of its content (`benchmark.results.sealing`). Records of
schema 1 carry none: they are read, and say so.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, model_validator

from benchmark.core.schema import About, Cost, Effort, Frozen
from benchmark.results.answers import Answers
from benchmark.results.cells import Budget, Cell, Choice, Knowledge, Method, Scored
from benchmark.results.outcomes import Inferred, Integrity, Outcome, Share, Verdicts, fell
from benchmark.results.sizes import fits

__all__ = [
    "Budget", "Cell", "Choice", "Inferred", "Integrity", "Knowledge", "Method", "Outcome",
    "Scored", "Share", "Verdicts", "fell",
]  # fmt: skip
"""Of `benchmark.results.cells` and `outcomes`, which records are about."""

SCHEMA: Literal[3] = 3
DEEPEST = 20
"""Of options within options."""
BY_RULE = " by rule"
"""How the threat of an attack ends whose strength nobody chose for the data."""
UNCHECKED = "unchecked: written before records carried a hash of their content"

Status = Literal["done", "skipped", "failed"]


def _shallow(options: dict[str, Any]) -> dict[str, Any]:
    """Options as they are; ValueError where they lie in each other deeper than anybody reads."""
    level: list[Any] = [options]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list | tuple)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return options
    raise ValueError(f"options in each other, more than {DEEPEST} deep")


Options = Annotated[dict[str, Any], AfterValidator(_shallow)]


class Provenance(Frozen):
    """Enough to make the record again and to see why it went stale."""

    command: str
    attack_options: Options
    defense_options: Options
    adaptation: Options
    versions: dict[str, str]
    shown_options: dict[str, Options] = {}
    """Of the attacks shown, by name, where they are not the scored one."""
    commit: str | None
    device: str
    created: str
    about: About = About()
    """What tables say of the defense, as its file had it then: for display alone."""
    tuned: Choice | None = None
    """Where `adaptation` was chosen by `run --tuned`: how."""


class Record(Frozen):
    """What a finished cell says. Status `done` has an outcome; the others have a reason instead."""

    schema_version: Literal[1, 2, 3] = SCHEMA
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
    """Whether training used no attack of its family; None: nobody knows."""
    unseen_by_name: bool | None = None
    """Whether training did not use this attack, whatever else of its family; None: nobody knows."""
    trained_on: list[str] | None = None
    query: str = ""
    """Hash of the test images; the first n are scored. Where it is equal, verdicts pair."""
    positive: str = ""
    """Of data with two classes: the one whose images are told apart, and which those are."""
    positives: Verdicts | None = None
    outcome: Outcome | None = None
    cost: Cost = Cost()
    training: Effort | None = None
    """Of the defense and of those it started from, once per trained model; None: not known."""
    probes: dict[str, float | None] = {}
    """What training measured of itself, by name; None where it does not apply."""
    flags: list[str] = []
    answers: Answers | None = None
    """Of the trained model on probe images: where it answers otherwise, the record is stale."""
    provenance: Provenance
    fingerprint: dict[str, str]
    """Short hashes by part (options, data, weights, source ...): where one differs, it is stale."""

    @property
    def all_flags(self) -> list[str]:
        """What the audit found, and whether nobody can say if the file is as it was written."""
        return [*self.flags, *([UNCHECKED] if self.schema_version == 1 else [])]

    @model_validator(mode="after")
    def _status_agrees(self) -> Self:
        if (self.status == "done") != (self.outcome is not None):
            raise ValueError(f"a record with status {self.status!r} and outcome {self.outcome!r}")
        if self.status != "done" and not self.reason:
            raise ValueError(f"a record with status {self.status!r} must say why in `reason`")
        return self

    @model_validator(mode="after")
    def _shown_by_family(self) -> Self:
        shown = self.cell.shown if self.cell.budget.adapts else ()
        if shown and len(self.families_shown) != len(shown):
            raise ValueError(f"{len(self.families_shown)} families of {len(shown)} attacks shown")
        return self

    @model_validator(mode="after")
    def _scored_as_planned(self) -> Self:
        if self.outcome is None:
            return self
        episodes = self.cell.episodes if self.cell.budget.adapts else 1
        if self.outcome.episodes != episodes:
            raise ValueError(f"verdicts of {self.outcome.episodes} episodes, not of {episodes}")
        if self.positives and (self.positives.episodes, self.positives.n) != (1, self.outcome.n):
            raise ValueError(f"positives of {self.positives.n} images, not of {self.outcome.n}")
        if not fits(self.cell, self.outcome.n):
            limit = self.cell.limit or "the whole test set"
            raise ValueError(f"verdicts on {self.outcome.n} images, not on {limit}")
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
