"""Small files that unpack to very much: an error in one line, within bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys

import pytest
from report_records import matrix, text_of

from benchmark.core.errors import UsageError
from benchmark.results.store import LARGEST as LONGEST
from benchmark.results.store import read_record
from reports.archive import reference
from reports.archive.reference import LARGEST, read_file, write_file

MEMORY = 1 << 30
"""Bytes of address space to read with; Python and pandas take half of it."""
READ = f"""
import resource, sys
from pathlib import Path
import reports.tidy.sources as sources
resource.setrlimit(resource.RLIMIT_AS, ({MEMORY}, {MEMORY}))
try:
    sources.gather([Path(sys.argv[1])])
except ValueError as error:
    print(error)
"""
RECORD = text_of(matrix(attacks=("fgsm",), n=50)[0])


def many():
    """Records of so many seeds, sound ones."""
    record = json.loads(RECORD) | {"schema_version": 1}
    del record["content"]
    for seed in range(LARGEST // len(json.dumps(record)) + 1000):
        record["cell"]["seed"] = seed
        yield json.dumps(record)


BOMBS = {
    "empty lines": lambda: b"\n" * LARGEST * 4,
    "one line": lambda: b"0" * LARGEST * 4,
    "spaces": lambda: b" " * LARGEST * 4 + RECORD.encode(),
    "lists": lambda: b"[" + b"[]," * (LONGEST // 3 - 9) + b"[]]\n",
    "objects": lambda: b'{"a":[' + b"{}," * (LONGEST // 3 - 9) + b"{}]}\n",
    "depth": lambda: b"[" * LONGEST,
}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of this system")
@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_is_refused_in_bounded_memory(tmp_path, kind):
    path = tmp_path / "x.records.gz"
    path.write_bytes(gzip.compress(BOMBS[kind](), 6))
    ended = subprocess.run(
        [sys.executable, "-c", READ, path], capture_output=True, text=True, check=False
    )
    assert ended.stderr == ""
    (line,) = ended.stdout.splitlines()
    assert line.startswith(str(path))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of this system")
def test_many_sound_records_are_refused_in_bounded_memory(tmp_path):
    path = tmp_path / "x.records.gz"
    path.write_bytes(gzip.compress("\n".join(many()).encode(), 1))
    ended = subprocess.run(
        [sys.executable, "-c", READ, path], capture_output=True, text=True, check=False
    )
    assert (ended.stderr, "unpacks to more than" in ended.stdout) == ("", True)


def test_the_limit_itself_is_kept_by_who_writes(tmp_path, monkeypatch):
    records = matrix(attacks=("fgsm",), n=50)
    path = write_file(records, tmp_path / "x.records.gz")
    assert sorted(map(repr, read_file(path))) == sorted(map(repr, records))
    size = len(gzip.decompress(path.read_bytes()))
    monkeypatch.setattr(reference, "LARGEST", size)
    write_file(records, path)
    assert len([*read_file(path)]) == len(records)
    monkeypatch.setattr(reference, "LARGEST", size - 1)
    with pytest.raises(UsageError, match="unpacks to more than"):
        [*read_file(path)]
    with pytest.raises(UsageError, match="make two"):
        write_file(records, path)


def test_a_record_may_be_as_long_as_it_may_be(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(RECORD.ljust(LONGEST))
    assert read_record(path).cell.dataset == "digits"
    path.write_text(RECORD.ljust(LONGEST + 1))
    with pytest.raises(UsageError, match="more than 8,388,608 bytes"):
        read_record(path)
