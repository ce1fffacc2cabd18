"""Records in one small file: what the project ships to compare with, and what others may send.

Gzip of JSON lines, a record each, in the order of their cells; the same records give the same file.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from importlib.resources import as_file, files
from pathlib import Path

from benchmark.core.errors import UsageError
from benchmark.core.records import Record
from benchmark.core.store import atomic_path, parse_record, sealed
from reports.shareable import shareable

SUFFIX = ".records.gz"
LARGEST = 2**28
"""Bytes that a file may unpack to: 256 MB, some 100,000 records."""


def write_file(records: Iterable[Record], path: Path) -> Path:
    """Write records into one file, at once or not at all; nothing in it names a local folder.

    Raises:
        UsageError: there is none, the name does not end in SUFFIX, or it cannot be written.
    """
    lines = sorted(json.dumps(sealed(one), ensure_ascii=False) for one in shareable([*records]))
    if not lines:
        raise UsageError(f"expected records to write to {path}, got none")
    if not path.name.endswith(SUFFIX):
        raise UsageError(f"expected a file name that ends in {SUFFIX}, got {path}")
    with atomic_path(path) as temporary:
        packed = gzip.compress("".join(f"{line}\n" for line in lines).encode(), 9, mtime=0)
        temporary.write_bytes(packed)
    return path


def read_file(path: Path) -> list[Record]:
    """The records of one file, each validated; UsageError in one line if one cannot be trusted."""
    try:
        with gzip.open(path) as file:
            content = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: not a readable file of records ({error})") from error
    if len(content) > LARGEST:
        raise UsageError(f"{path}: unpacks to more than {LARGEST:,} bytes; give results folders")
    return [
        parse_record(line, f"{path}, line {number}")
        for number, line in enumerate(content.splitlines(), 1)
    ]


def shipped() -> list[Path]:
    """The project's own files of records.

    Raises:
        UsageError: none came with the installation.
    """
    with as_file(files("reports") / "reference") as folder:
        found = sorted(folder.glob(f"*{SUFFIX}"))
    if not found:
        raise UsageError("no reference records came with this installation; install it anew")
    return found
