"""What an audit found of one trained model: a JSON file, written after each part.

    DIR/audits/<dataset>/<network>/<defense>/s<seed>/n<images>.json

It carries the hash of its content and says of which weights it is: of any others it says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from benchmark.core.errors import UsageError
from benchmark.core.schema import Cost, Count, Frozen, Seed
from benchmark.results import sealing
from benchmark.results.cells import Cell
from benchmark.results.flags import UNDONE, Flag
from benchmark.results.folders import files_below
from benchmark.results.store import LARGEST, atomic_path, content_of, slug

SCHEMA: Literal[1] = 1
FOLDER = "audits"
"""Of a results folder."""
Verdict = Literal["sound", "doubtful", "broken"]


class Checked(Frozen):
    """What one part of an audit found."""

    flags: list[Flag] = []
    numbers: dict[str, float | None] = {}
    """All that was measured, by name, whether it is a finding or not."""
    skipped: str | None = None
    """Why the part could not look, in one line."""
    cost: Cost = Cost()

    @property
    def failed(self) -> bool:
        """Whether it could not look for no good reason: it raised, or was over its time."""
        return any(flag.code == UNDONE for flag in self.flags)


class Advised(Frozen):
    """What the doubts leave of a score: the worst case of the attacks that the flags advise."""

    attacks: dict[str, float | None]
    """Robust accuracy in [0, 1] under each; None: it could not run."""
    n: Count
    """Test images."""
    robust: float | None
    """Share that is right under all of them; None if none could run."""
    interval: tuple[float, float] | None
    """95 %, Wilson's."""


class Audit(Frozen):
    """An audit of one trained model, as far as it has come."""

    schema_version: Literal[1] = SCHEMA
    dataset: str
    network: str
    defense: str
    seed: Seed
    images: Count
    """Validation images it was asked about."""
    weights: str
    """State hash of the model."""
    planned: list[str] = []
    """All parts that there are, in their order."""
    parts: dict[str, Checked]
    advised: Advised | None = None
    versions: dict[str, str]
    """Of the packages that made it: for readers, never compared."""
    fingerprint: dict[str, str] = {}
    """Short hashes of what the parts depend on: where one differs, the audit is stale."""
    device: str
    created: str

    @property
    def flags(self) -> list[Flag]:
        """Those of all parts, each code once, what breaks attacks first."""
        found: dict[str, Flag] = {}
        for part in self.parts.values():
            for flag in part.flags:
                found.setdefault(flag.code, flag)
        return sorted(found.values(), key=lambda flag: not flag.kind.broken)

    @property
    def verdict(self) -> Verdict:
        """`broken` if a flag says that attacks fail, else `doubtful` if there is any."""
        if any(flag.kind.broken for flag in self.flags):
            return "broken"
        return "doubtful" if self.flags else "sound"

    @property
    def missing(self) -> list[str]:
        """Parts that have not looked yet."""
        return [name for name in self.planned if name not in self.parts]

    def __str__(self) -> str:
        """The verdict with the codes of its flags, and how far the audit is if it is not done."""
        codes = ", ".join(flag.code for flag in self.flags)
        done = f", {len(self.parts)} of {len(self.planned)} parts" if self.missing else ""
        return f"{self.verdict}{done}{f' ({codes})' if codes else ''}"


def audit_path(root: Path, cell: Cell, images: int) -> Path:
    """Where the audit of a cell's trained model on so many images lives."""
    folder = Path(slug(cell.dataset), slug(cell.network), slug(cell.defense), f"s{cell.seed}")
    return root / FOLDER / folder / f"n{images}.json"


def write_audit(path: Path, audit: Audit) -> None:
    """Write it at once or not at all.

    Raises:
        UsageError: `path` cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content(audit).encode())


def content(audit: Audit, indent: int | None = 1) -> str:
    """What its file holds."""
    made = sealing.seal(json.loads(audit.model_dump_json()))
    return json.dumps(made, indent=indent, ensure_ascii=False) + "\n"


def read_audit(path: Path) -> Audit:
    """Read and validate one audit; UsageError in one line if it cannot be trusted."""
    try:
        raw = content_of(path)
    except OSError as error:
        raise _unreadable(str(path), str(error)) from error
    return parse_audit(raw, str(path))


def parse_audit(raw: bytes, where: str) -> Audit:
    """The audit in JSON read from `where`; UsageError in one line if it cannot be trusted."""
    try:
        if len(raw) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        found = sealing.parse(raw)
        if not isinstance(found, dict):
            raise ValueError("expected an object")
        version = found.get("schema_version")
        if isinstance(version, int) and version > SCHEMA:
            raise ValueError(f"written by schema {version}, this version reads {SCHEMA}")
        return Audit.model_validate(sealing.opened(found))
    except ValidationError as error:
        first = error.errors()[0]
        part = ".".join(map(str, first["loc"])) or "audit"
        raise _unreadable(where, f"{part}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(where, str(error)) from error


def _unreadable(where: str, why: str) -> UsageError:
    told = " ".join(why.split())[:300]
    return UsageError(f"{where}: not a readable audit ({told}); delete it to make it anew")


def audit_files(root: Path) -> list[Path]:
    """All files of audits below a results folder, in order; UsageError as `files_below`."""
    return files_below(root / FOLDER, ".json")


def read_audits(root: Path) -> Iterator[Audit]:
    """All audits below a results folder; UsageError for one that cannot be trusted."""
    yield from map(read_audit, audit_files(root))


def readable_audits(root: Path) -> tuple[list[Audit], list[str]]:
    """Those below a results folder, and a line for each file that cannot be trusted."""
    found: list[Audit] = []
    problems: list[str] = []
    for path in audit_files(root):
        try:
            found.append(read_audit(path))
        except UsageError as error:
            problems.append(str(error))
    return found, problems
