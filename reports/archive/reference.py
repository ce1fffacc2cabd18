"""Records in one small file: what the project ships to compare with, and what others may send.

Gzip of JSON lines, a record each, in the order of their cells; the same records give the same file.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from importlib.resources import as_file, files
from itertools import count
from pathlib import Path

from benchmark.core.errors import UsageError
from benchmark.results.records import Record
from benchmark.results.store import LARGEST as LONGEST
from benchmark.results.store import atomic_path, parse_record, sealed
from reports.archive.shareable import shareable

SUFFIX = ".records.gz"
LARGEST = 2**26
"""Bytes that a file may unpack to: 64 MB, some 25,000 records."""


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
    content = "".join(f"{line}\n" for line in lines).encode()
    if len(content) > LARGEST:
        raise UsageError(f"{len(content):,} bytes of records; a file holds {LARGEST:,}: make two")
    with atomic_path(path) as temporary:
        packed = gzip.compress(content, 9, mtime=0)
        temporary.write_bytes(packed)
    return path


def read_file(path: Path) -> Iterator[Record]:
    """The records of one file, one after the other; nothing of it is held but a line.

    Raises:
        UsageError: one cannot be trusted, or there are more bytes than any file should have.
    """
    read = 0
    try:
        with gzip.open(path) as file:
            for number in count(1):
                line = file.readline(LONGEST + 1)  # one byte more than a record may have
                read += len(line)
                if not line:
                    return
                if read > LARGEST:
                    raise UsageError(
                        f"{path}: unpacks to more than {LARGEST:,} bytes; give results folders"
                    )
                yield parse_record(line, f"{path}, line {number}")
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: not a readable file of records ({error})") from error


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
