"""The results folder: what is written comes back, half a file never does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_records import cell, record

from benchmark.core.errors import UsageError
from benchmark.results import store
from benchmark.results.records import Budget
from benchmark.results.sealing import seal
from benchmark.results.store import (
    atomic_path,
    read_record,
    read_records,
    record_path,
    slug,
    write_record,
)
from benchmark.results.weights import read_weights, write_weights


def test_a_record_comes_back(tmp_path):
    made = record()
    path = write_record(tmp_path, made)
    assert path == record_path(tmp_path, made.cell)
    assert read_record(path) == made
    assert read_records(tmp_path) == ([made], [])


def test_every_cell_has_a_place_of_its_own(tmp_path):
    cells = [
        cell(),
        cell(limit=10),
        cell(seed=1),
        cell(attack="pgd_linf[eps=0.1]"),
        cell(attack="pgd_linf[eps=0.2]"),
        cell(attack="pgd_linf"),
        cell(defense="a/b"),
        cell(defense="a-b"),
        cell(budget=Budget(shots=1, steps=1, lr=0.1)),
        cell(budget=Budget(shots=1, steps=1, lr=0.10001)),
        cell(budget=Budget(shots=1, steps=1, lr=0.10000001)),
        cell(budget=Budget(shots=1, steps=1, lr=0.1), episodes=2),
    ]
    assert len({record_path(tmp_path, made) for made in cells}) == len(cells)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "..", ".", "", "a\\b", "CON\x00", "~", "a" * 300, "pgd[x=1]"]
)
def test_a_name_cannot_leave_its_folder(tmp_path, name):
    path = record_path(tmp_path, cell(attack=name, defense=name, network=name)).resolve()
    assert path.is_relative_to(tmp_path.resolve() / "records" / "digits")
    assert len(path.relative_to(tmp_path.resolve()).parts) == 7
    write_record(tmp_path, record(cell=cell(attack=name, defense=name, network=name)))


def test_slugs_that_look_alike_stay_apart():
    names = ["a b", "a-b", "a/b", "a.b", "A b", "a" * 80, "a" * 81]
    assert len({slug(name) for name in names}) == len(names)
    assert slug("pgd_linf") == "pgd_linf"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path, error):
    target = tmp_path / "deep" / "file"
    with atomic_path(target) as temporary:
        temporary.write_text("old")
    with (
        pytest.raises((UsageError, KeyboardInterrupt)) as caught,
        atomic_path(target) as temporary,
    ):
        temporary.write_text("half of the n")
        raise error
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]
    if caught.type is UsageError:
        assert "No space left on device; expected a writable folder" in str(caught.value)


def test_nobody_sees_half_a_record(tmp_path, monkeypatch):
    """Killed between the write and the rename: the old record is still the record."""
    write_record(tmp_path, record())
    newer = record(status="failed", outcome=None, reason="later")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, newer)
    monkeypatch.undo()
    assert read_records(tmp_path).records == [record()]


def test_a_killed_process_leaves_nothing_that_is_read(tmp_path):
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        "from benchmark.results.store import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as path:\n"
        "    path.write_text('half'); os._exit(9)\n"
    )
    target = tmp_path / "records" / "x.json"
    assert subprocess.run([sys.executable, "-c", code, target], check=False).returncode == 9
    assert not target.exists()
    assert read_records(tmp_path) == ([], [])


def test_a_read_only_folder_is_one_line(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*Not a directory"):
        write_record(blocker, record())


def spoil(path, change):
    """Change a record and seal it again, as no accident would."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(seal(content)))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text(path.read_text()[:200]), "not a readable record"),
        (lambda path: path.write_text(""), "not a readable record"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not a readable record"),
        (lambda path: path.write_text("[1, 2]"), "not a valid record"),
        (lambda path: spoil(path, lambda c: c.update(schema_version=4)), "written by schema 4.*up"),
        (lambda path: spoil(path, lambda c: c.pop("threat")), r"not a valid record \(threat: Fie"),
        (lambda path: spoil(path, lambda c: c.update(extra=1)), r"not a valid record \(extra"),
        (lambda path: spoil(path, lambda c: c["outcome"]["static"].update(n=99)), "verdicts hold"),
        (lambda path: spoil(path, lambda c: c.update(outcome=None)), "status 'done'"),
    ],
)
def test_what_cannot_be_trusted_is_a_problem_not_a_record(tmp_path, damage, message):
    good = record(cell=cell(seed=1))
    write_record(tmp_path, good)
    damage(write_record(tmp_path, record()))
    records, problems = read_records(tmp_path)
    assert records == [good]
    (problem,) = problems
    assert problem.startswith(str(tmp_path))
    assert "\n" not in problem
    with pytest.raises(UsageError, match=message):
        read_record(record_path(tmp_path, cell()))


def test_an_empty_folder_has_no_records(tmp_path):
    assert read_records(tmp_path / "none") == ([], [])


def test_weights_come_back_bit_by_bit(tmp_path):
    tensors = {
        "a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0)),
        "b": torch.tensor([float("nan"), -0.0, 1e-45]),
        "count": torch.tensor(3),
        "turned": torch.arange(6).reshape(2, 3).T,
    }
    write_weights(tmp_path / "m" / "w.safetensors", tensors, {"trained_on": "[]"})
    found = read_weights(tmp_path / "m" / "w.safetensors")
    assert found.notes == {"trained_on": "[]"}
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(
            found.tensors[name].contiguous().view(-1).view(torch.uint8),
            tensor.contiguous().view(-1).view(torch.uint8),
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:200],
        lambda _: b"not safetensors",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: content.replace(b'"note":"a"', b'"note":"b"'),
        lambda content: content.replace(b'"w":', b'"v":'),
        lambda content: content.replace(b"[100]", b"[50,2]").replace(b" ", b"", 1),
    ],
)
def test_weights_that_are_not_as_they_were_written_are_refused(tmp_path, damage):
    path = tmp_path / "w.safetensors"
    assert read_weights(path) is None
    write_weights(path, {"w": torch.ones(100)}, {"note": "a"})
    content = path.read_bytes()
    assert read_weights(path).notes == {"note": "a"}
    path.write_bytes(damage(content))
    assert path.read_bytes() != content
    with pytest.raises(UsageError, match=f"^{path}: not ") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_weights_without_a_hash_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"w": torch.ones(3)}, path, metadata={"trained_on": "[]"})
    with pytest.raises(UsageError, match="lacks the hash"):
        read_weights(path)


def test_reading_records_needs_no_torch():
    code = "import sys, benchmark.results.store; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert store.SCHEMA == 3


def test_a_sweep_takes_what_a_kill_left_long_ago_and_nothing_else(tmp_path):
    path = write_record(tmp_path, record())
    litter = {name: path.parent / f".reattack-{name}.tmp" for name in ("new", "old")}
    others = [tmp_path / ".other.tmp", tmp_path / ".reattack-notes"]
    for other in (*litter.values(), *others):
        other.write_text("half")
    for old in (path, litter["old"], *others):
        os.utime(old, (0, 0))
    assert store.sweep(tmp_path) == 1
    assert not litter["old"].exists()
    assert all(kept.exists() for kept in (path, litter["new"], *others))
    assert store.sweep(tmp_path / "none") == 0
