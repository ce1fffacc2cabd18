"""A baseline: what a gate compares with. Small JSON for a repository, one cell a line, atomic."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from benchmark.core.errors import UsageError
from benchmark.results.records import Verdicts
from benchmark.results.sealing import parse
from benchmark.results.store import atomic_path
from reports.statistics.intervals import Table
from reports.tidy.verdicts import CellVerdicts

SCHEMA: Literal[1] = 1
LINES = ("cells", "floors", "ratios", "versions")
"""Parts with a line for each entry."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Kept(_Frozen):
    """One cell of a baseline: numbers for people, and the verdicts they come from."""

    robust: Annotated[float, Field(ge=0, le=100)]
    """Percent right, to one decimal."""
    n: Annotated[int, Field(ge=1)]
    episodes: Annotated[int, Field(ge=1)]
    query: str
    """Hash of the test images: where it is equal, verdicts pair."""
    flags: list[str] = []
    bits: str

    @classmethod
    def of(cls, scored: CellVerdicts) -> Self:
        """From the verdicts of a finished cell."""
        packed = Verdicts.pack(scored.table)
        return cls(
            robust=_percent(scored.table), n=packed.n, episodes=packed.episodes,
            query=scored.query, flags=list(scored.flags), bits=packed.bits,
        )  # fmt: skip

    def scored(self, name: str) -> CellVerdicts:
        """Back to what a results folder would say."""
        return CellVerdicts(name, self._table(), self.query, tuple(self.flags))

    def _table(self) -> Table:
        return Verdicts(episodes=self.episodes, n=self.n, bits=self.bits).unpack()

    @model_validator(mode="after")
    def _numbers_agree(self) -> Self:
        found = _percent(self._table())
        if abs(found - self.robust) > 0.051:
            raise ValueError(f"robust says {self.robust}, the verdicts say {found}")
        return self


class Baseline(_Frozen):
    """What was measured when somebody last agreed with it, and what must never be undercut."""

    schema_version: Literal[1] = SCHEMA
    versions: dict[str, str] = {}
    """Of the packages that measured it: for readers, never compared."""
    floors: dict[str, Annotated[float, Field(ge=0, le=100)]] = {}
    """Percent by name of a cell; * and ? stand for anything. Written by hand, kept by updates."""
    ratios: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """How many times longer others take, by benchmark and contender."""
    cells: dict[str, Kept] = {}


def read_baseline(path: Path) -> Baseline:
    """Read and validate; UsageError in one line if it cannot be trusted."""
    try:
        content = parse(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"no baseline at {path}; write one: check --update --baseline {path} --results DIR"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a readable baseline ({error}); restore it") from error
    found = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(found, int) and found > SCHEMA:
        raise UsageError(f"{path}: written by schema {found}, this version reads {SCHEMA}; upgrade")
    try:
        return Baseline.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = " > ".join(ascii(part)[1:80].rstrip("'") for part in map(str, first["loc"]))
        raise UsageError(
            f"{path}: not a valid baseline ({where or 'file'}: {first['msg']}); "
            "restore it, or remove it and write a new one with check --update"
        ) from error


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Write at once or not at all: sorted keys, a line for each cell, the same for equal results.

    Raises:
        UsageError: `path` cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(_text(baseline.model_dump()), encoding="utf-8")


def _text(content: Mapping[str, Any]) -> str:
    parts = [
        f" {json.dumps(name)}: {_lines(value) if name in LINES else json.dumps(value)}"
        for name, value in sorted(content.items())
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(entries: Mapping[str, Any]) -> str:
    """ASCII: what hides in a name shows in a review."""
    lines = [f"  {json.dumps(name)}: {_entry(entries[name])}" for name in sorted(entries)]
    return "{\n" + ",\n".join(lines) + "\n }" if lines else "{}"


def _entry(entry: Any) -> str:
    if not isinstance(entry, dict):
        return json.dumps(entry)
    return json.dumps({name: entry[name] for name in sorted(entry, key=lambda x: (x == "bits", x))})


def _percent(table: Table) -> float:
    return round(100 * float(table.mean()), 1)
