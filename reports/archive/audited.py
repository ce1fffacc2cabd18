"""Audits beside records: which record is of which audited model, and what that adds to it.

An audit counts for records of the very model: name, training seed, weights and whatever training
and code depend on are the same. Of any other it says nothing.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.core.errors import UsageError
from benchmark.results.audits import Audit, content, parse_audit, read_audits
from benchmark.results.records import Record
from benchmark.results.store import atomic_path
from reports.archive.paths import bare
from reports.archive.reference import LARGEST, SUFFIX

NOT = "not audited"
ENDING = ".audits.gz"
"""Of the file of audits beside a file of records: gzip of JSON lines, an audit each."""
ORDER = ("broken", "doubtful", NOT, "sound")
"""Of verdicts, the worst first."""
_Name = tuple[str, str, str, int, str, str]


def matched(records: Sequence[Record], audits: Iterable[Audit]) -> list[Audit | None]:
    """For each record the audit of its model: the one that is done, then on most images."""
    known: dict[_Name, Audit] = {}
    for one in audits:
        name = _name_of(one)
        if name not in known or _evidence(one) > _evidence(known[name]):
            known[name] = one
    return [known.get(_name(record)) for record in records]


def _name(record: Record) -> _Name:
    cell, found = record.cell, record.fingerprint
    parts = found.get("weights", ""), found.get("training", "")
    return (cell.dataset, cell.network, cell.defense, cell.seed, *parts)


def _name_of(audit: Audit) -> _Name:
    training = audit.fingerprint.get("training", "")
    return (audit.dataset, audit.network, audit.defense, audit.seed, audit.weights, training)


def _evidence(audit: Audit) -> tuple[int, int]:
    return -len(audit.missing), audit.images


def flagged(record: Record, audit: Audit | None) -> Record:
    """The record with those flags of the audit whose codes it does not have yet."""
    known = {flag.partition(":")[0] for flag in record.flags}
    more = [str(flag) for flag in audit.flags if flag.code not in known] if audit else []
    return record.model_copy(update={"flags": [*record.flags, *more]}) if more else record


def told(verdicts: Iterable[str]) -> str:
    """What the audits of several models of one row say: once if it is the same, the worst first.

    >>> told(["sound", "sound"]), told(["sound", "not audited", "broken (bounded)"])
    ('sound', 'broken (bounded); not audited; sound')
    """
    found = sorted(dict.fromkeys(verdicts), key=lambda text: (_place(text), text))
    return "; ".join(found)


def _place(text: str) -> int:
    return next((place for place, word in enumerate(ORDER) if text.startswith(word)), len(ORDER))


def renamed(audit: Audit, defense: str) -> Audit:
    """The audit as others may see it, of a model of that name: no text in it names a folder."""
    parts = {
        name: part.model_copy(
            update={
                "skipped": part.skipped and bare(part.skipped),
                "flags": [
                    flag.model_copy(update={"message": bare(flag.message)}) for flag in part.flags
                ],
            }
        )
        for name, part in audit.parts.items()
    }
    return audit.model_copy(update={"defense": defense, "parts": parts})


def audits_of(place: Path) -> list[Audit]:
    """Those below a results folder, or beside a file of records.

    Raises:
        UsageError: one cannot be trusted.
    """
    if not place.name.endswith(SUFFIX):
        return [*read_audits(place)]
    path = beside(place)
    if not path.is_file():
        return []
    try:
        with gzip.open(path) as file:
            raw = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: not a readable file of audits ({error})") from error
    if len(raw) > LARGEST:
        raise UsageError(f"{path}: unpacks to more than {LARGEST:,} bytes; give results folders")
    lines = enumerate(raw.splitlines(), 1)
    return [parse_audit(line, f"{path}, line {number}") for number, line in lines]


def beside(records: Path) -> Path:
    """The file of audits that goes with a file of records."""
    return records.with_name(records.name.removesuffix(SUFFIX) + ENDING)


def write_audits(audits: Iterable[Audit], records: Path) -> Path | None:
    """Write audits beside a file of records; None, and no file, if there is none."""
    lines = sorted(dict.fromkeys(content(one, indent=None) for one in audits))
    path = beside(records)
    if not lines:
        path.unlink(missing_ok=True)
        return None
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))
    return path
