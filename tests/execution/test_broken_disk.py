"""A full disk, a folder that becomes read-only, half-written files: what was finished stays."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from test_survival import ATTACKS, slow

from benchmark.results.store import read_records, record_path

SMALL = "180k"
"""A disk for a model of 152 kB and some records of 4 kB."""


@pytest.fixture
def matrix(run, tmp_path):
    """Runs four cells; some seconds."""
    attacks = "fgsm,uniform_noise,pgd_linf[steps=2],pgd_l2[steps=2]"

    def call(*words, results=tmp_path / "results"):
        return run(*words, attacks=attacks, results=results)

    return call


def spoiled(genuine, error, after):
    """`genuine` for the first calls, then this error, for ever."""
    calls = iter(range(after))

    def call(*args, **kwargs):
        if next(calls, None) is None:
            raise OSError(error, os.strerror(error))
        return genuine(*args, **kwargs)

    return call


def claims(results):
    return {str(made.cell): (made.status, made.outcome) for made in read_records(results).records}


@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize(
    ("where", "what", "error"),
    [
        (os, "fsync", errno.ENOSPC),
        (os, "fsync", errno.EDQUOT),
        (tempfile, "mkstemp", errno.EROFS),
        (Path, "replace", errno.EIO),
    ],
)
def test_a_folder_that_fails_midway_keeps_what_is_done(
    matrix, tmp_path, monkeypatch, where, what, error, after
):
    """The writes are: the model, then examples, a picture and a record for each cell.

    Examples and pictures are not waited for and may be missing; of examples that is said in a line.
    """
    each = 1 if what == "fsync" else 3
    results = tmp_path / "results"
    with monkeypatch.context() as patch:
        patch.setattr(where, what, spoiled(getattr(where, what), error, after + (what != "fsync")))
        ended = matrix("--quiet")
    *notes, line = ended.err.splitlines()
    ended._replace(err=line).refused("cannot write", os.strerror(error), "free space: choose")
    done = claims(results)
    assert len(done) == max(0, (after - 1) // each)
    if each == 3 and after:
        (note,) = notes
        assert note.startswith(f"cannot write the cache {results / 'cache'} (")
    else:
        assert not notes
    assert not read_records(results).problems
    assert not list(results.rglob("*.tmp"))
    kept = {path: path.read_bytes() for path in results.rglob("*.json")}
    assert matrix("--quiet").code == 0
    assert {path: path.read_bytes() for path in kept} == kept
    assert len(claims(results)) == 4
    assert done.items() <= claims(results).items()


@slow
def test_workers_that_cannot_write_the_cache_say_so_once(matrix, tmp_path):
    (tmp_path / "file").write_text("no folder")
    two = ["--executor", "processes", "--jobs", 2]
    ended = matrix("--quiet", "--cache", tmp_path / "file", *two)
    assert ended.code == 0
    assert ended.line.startswith(f"cannot write the cache {tmp_path / 'file'} (")
    assert matrix("--quiet", "--no-cache", results=tmp_path / "other").code == 0
    assert claims(tmp_path / "results") == claims(tmp_path / "other")
    assert len(claims(tmp_path / "other")) == 4


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_record_half_written_runs_again_and_costs_one_line(run, tmp_path, share):
    assert run("--quiet").code == 0
    results = tmp_path / "results"
    (made,) = read_records(results).records
    path = record_path(results, made.cell)
    os.truncate(path, int(path.stat().st_size * share))
    ended = run("--json", "--quiet")
    assert ended.code == 0
    assert ended.line.startswith(f"{path}: not a readable record (")
    assert [cell["status"] for cell in json.loads(ended.out)["cells"]] == ["done"]
    (again,) = read_records(results).records
    assert (again.outcome, again.fingerprint) == (made.outcome, made.fingerprint)


def test_what_a_kill_left_is_harmless_and_goes_when_it_is_old(run, tmp_path):
    assert run("--quiet").code == 0
    results = tmp_path / "results"
    (path,) = (results / "records").rglob("*.json")
    left = [folder / f".reattack-{age}.tmp" for age in ("old", "new")
            for folder in (path.parent, results / "models", results / "cache")]  # fmt: skip
    for file in left:
        file.write_bytes(path.read_bytes()[:99])
        if "old" in file.name:
            os.utime(file, (0, 0))
    before = claims(results)
    assert run("--quiet") == (0, "", "")
    assert claims(results) == before
    assert [file.exists() for file in left] == [False] * 3 + [True] * 3


# A real full disk, where this system lets us have one.


def in_a_small_disk(folder: Path, size: str, script: str) -> subprocess.CompletedProcess:
    """A script in `folder`, with `disk` there so small; skips where nobody may mount."""
    (folder / "disk").mkdir()
    flags = "-m" if os.geteuid() == 0 else "-rm"
    mount = f"cd {folder} && mount -t tmpfs -o size={size} none disk"
    for words in (mount, f"{mount} && {script}"):
        ended = subprocess.run(
            ["unshare", flags, "sh", "-c", words], capture_output=True, text=True, check=False
        )
        if words == mount and ended.returncode:
            pytest.skip(f"may not mount: {ended.stderr}")
    return ended


@slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts a tmpfs")
def test_a_disk_that_is_really_full(tmp_path):
    """Room for the model and about half of the records; the examples are kept elsewhere."""
    words = f"--attacks '{ATTACKS}' --shots 0,1,2 --episodes 1 --limit 20 --jobs 1 --quiet"
    run = f"{sys.executable} -m benchmark run --defense 'standard[epochs=1]' {words}"
    where = f"PYTHONPATH={os.getcwd()} {run} --cache cache --results disk"
    ended = in_a_small_disk(tmp_path, SMALL, f"{where}; code=$?; cp -r disk kept; exit $code")
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: cannot write disk/records/")
    assert line.endswith("No space left on device; expected a writable folder with free space: "
                         "choose another")  # fmt: skip
    kept = read_records(tmp_path / "kept")
    assert kept.problems == []
    assert 0 < len(kept.records) < 15
    assert not list((tmp_path / "kept").rglob("*.tmp"))
