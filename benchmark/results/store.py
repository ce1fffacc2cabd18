"""The results folder: one JSON file a cell, one safetensors file a trained model (`weights`).

    DIR/records/<dataset>/<network>/<defense>/s<seed>/<attack>/<budget>-e<episodes>-n<limit>.json
    (then `-after-<shown>` and `-validation` where a cell has those; its picture is the same .png)
    DIR/models/<dataset>-<network>-<defense>-s<seed>-<fingerprint>.safetensors

Writes are atomic (a temporary file beside the target, then a rename): a killed run leaves the old
file or the new one, never half of one. Importing this module does not import torch.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from benchmark.core.errors import UsageError
from benchmark.core.schema import short_hash
from benchmark.results import sealing
from benchmark.results.folders import files_below
from benchmark.results.records import SCHEMA, Cell, Record

LARGEST = 1 << 23
"""Bytes of a record, at most: verdicts on ImageNet in 100 episodes take a third of it."""
PREFIX, TEMPORARY = ".reattack-", ".tmp"
"""How names of files begin and end that are not finished yet."""
LITTER_AGE = 3600.0
"""Seconds since its last write after which a temporary file is litter of a killed process.

No lock and no process id says so on every file system and machine that may share a folder. Files
here take seconds to write, so an hour of silence does; the worst a wrong guess could do is to make
the rename fail, in one line.
"""


class Loaded(NamedTuple):
    """Records read from a folder, and one line for each file that could not be read."""

    records: list[Record]
    problems: list[str]


@cache
def slug(name: str) -> str:
    """A file name that cannot leave its folder; a hash keeps different names apart.

    >>> slug("pgd_linf")
    'pgd_linf'
    >>> slug("../../x").startswith("x-"), "/" in slug("../../x")
    (True, False)
    """
    safe = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:60]
    return safe if safe and safe == name else f"{safe}-{short_hash(name)[:8]}"


def record_path(root: Path, cell: Cell) -> Path:
    """Where the record of a cell lives."""
    folder = _folder(root, cell.dataset, cell.network, cell.defense, cell.seed)
    name = f"{slug(str(cell.budget))}-e{cell.episodes}-n{cell.limit or 'all'}"
    name += f"-after-{slug('+'.join(cell.shown))}" if cell.shown else ""
    name += "" if cell.split == "test" else f"-{cell.split}"
    return Path(f"{folder}/{slug(cell.attack)}/{name}.json")


@lru_cache(maxsize=16)  # plans go through them one after the other
def _folder(root: Path, dataset: str, network: str, defense: str, seed: int) -> Path:
    return root / "records" / slug(dataset) / slug(network) / slug(defense) / f"s{seed}"


@contextmanager
def atomic_path(target: Path, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `target` that replaces it on success and vanishes on failure.

    What is not `durable` may be lost or damaged when the power fails; it costs no wait for the
    disk, which is most of what writing a small file costs.

    Raises:
        UsageError: the folder is read-only, full, or not a folder.
    """
    temporary: Path | None = None
    try:
        with _writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=PREFIX, suffix=TEMPORARY)
            os.close(handle)
            temporary = Path(name)
            yield temporary
            if durable:
                with temporary.open("rb") as written:
                    os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(target)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def is_litter(written: float) -> bool:
    """Whether a temporary file last written then, in seconds since 1970, was left by a kill."""
    return time.time() - written > LITTER_AGE


def is_temporary(name: str) -> bool:
    """Whether a file name is that of a file not finished yet."""
    return name.startswith(PREFIX) and name.endswith(TEMPORARY)


def sweep(root: Path) -> int:
    """Remove the litter of killed processes below a folder; returns how many files that were."""
    removed = 0
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            if is_temporary(name):
                with suppress(OSError):  # gone already, or a folder that may not be written
                    if is_litter(path.stat().st_mtime):
                        path.unlink()
                        removed += 1
    return removed


def check_writable(folder: Path) -> None:
    """Raise UsageError if nothing can be written into `folder`; it is made if it is not there."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {target}: {error.strerror or error}; "
            "expected a writable folder with free space: choose another"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_record(root: Path, record: Record, picture: bytes = b"") -> Path:
    """Write a record to its place and return the path.

    Its picture comes first, and bound to it (`benchmark.results.thumbnail`): beside an older record
    it counts for nothing. No run ends for want of one.
    """
    target = record_path(root, record.cell)
    beside = target.with_suffix(".png")
    with suppress(UsageError, OSError):
        if picture:
            with atomic_path(beside, durable=False) as temporary:
                temporary.write_bytes(picture)
        else:
            beside.unlink(missing_ok=True)
    with atomic_path(target) as temporary:
        content = json.dumps(sealed(record), indent=1, ensure_ascii=False).encode()
        if len(content) >= LARGEST:
            raise UsageError(
                f"{target}: a record of {len(content):,} bytes, of which at most {LARGEST:,} are "
                "read; expected fewer episodes or a lower --limit"
            )
        temporary.write_bytes(content + b"\n")
    return target


def sealed(record: Record) -> dict[str, Any]:
    """What is written of a record: JSON, with the hash of everything else in it."""
    content = json.loads(record.model_dump_json())
    return content if record.schema_version == 1 else sealing.seal(content)


def read_record(path: Path) -> Record:
    """Read and validate one record; UsageError in one line if it cannot be trusted."""
    try:
        raw = content_of(path)
    except OSError as error:
        raise _unreadable(str(path), error) from error
    return parse_record(raw, str(path))


def content_of(path: Path) -> bytes:
    """The bytes of a small file, one more than LARGEST at most; OSError if there are none."""
    if not path.is_file() and path.exists():
        raise OSError("not a file")  # a pipe would wait for ever
    with path.open("rb") as file:
        return file.read(LARGEST + 1)


def parse_record(raw: bytes, where: str) -> Record:
    """The record in JSON read from `where`; UsageError in one line if it cannot be trusted."""
    try:
        if len(raw) > LARGEST:
            raise ValueError(f"more than {LARGEST:,} bytes")
        content = sealing.parse(raw)
        found = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(found, int) and found > SCHEMA:
            raise UsageError(
                f"{where}: written by schema {found}, this version reads {SCHEMA}; upgrade"
            )
        if found == 1 or not isinstance(content, dict):
            sealing.digest(content)
        else:
            content = sealing.opened(content)
        return Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        part = ".".join(map(str, first["loc"])) or "record"
        raise UsageError(
            f"{where}: not a valid record ({part}: {first['msg']}); delete it to run it again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(where, error) from error


def _unreadable(where: str, error: Exception) -> UsageError:
    return UsageError(f"{where}: not a readable record ({error}); delete it to run it again")


def is_kept(root: Path, cell: Cell) -> bool:
    """Whether a cell has a record, good or bad; UsageError where nobody may look."""
    path = record_path(root, cell)
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise UsageError(f"cannot look into {path} ({error.strerror})") from error
    return True


def record_files(root: Path) -> list[Path]:
    """All files of records below a results folder, in order; UsageError as `files_below`."""
    return files_below(root / "records", ".json")


def read_records(root: Path) -> Loaded:
    """All records below a results folder, in path order, and what could not be read.

    Raises:
        UsageError: a folder in it cannot be listed.
    """
    records: list[Record] = []
    problems: list[str] = []
    for path in record_files(root):
        try:
            records.append(read_record(path))
        except UsageError as error:
            problems.append(str(error))
    return Loaded(records, problems)
