"""The cache of crafted examples: a hit changes no verdict, and nothing wrong is ever a hit."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from tiny_runs import prepare, record_of, tiny_plan

from benchmark.artifacts import example_cache
from benchmark.artifacts.example_cache import Cache, Entry, files
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream

GIGA = 10**9


def outcomes(folder, plan):
    return [record_of(folder, cell).outcome for cell in plan.cells]


def run(plan, folder, kept=None, limit=GIGA):
    """Run a plan; returns the watch and the records' passes."""
    prepared = prepare(plan, folder, cache=kept, cache_limit=limit, no_cache=kept is None)
    prepared.run()
    costs = [record_of(folder, cell).cost for cell in plan.cells]
    return prepared.listener, [cost.forwards + cost.backwards for cost in costs]


@pytest.fixture(scope="module")
def plan():
    return tiny_plan("pgd_linf[steps=2],fab_linf[steps=2]", shots=[0, 1, 2])


@pytest.fixture(scope="module")
def without(tmp_path_factory, plan):
    """A folder whose records were made without a cache."""
    folder = tmp_path_factory.mktemp("without")
    run(plan, folder)
    return folder


def test_a_cache_changes_no_outcome_and_saves_the_crafting(tmp_path, plan, without):
    kept = tmp_path / "cache"
    first, costs = run(plan, tmp_path / "1", kept)
    again, saved = run(plan, tmp_path / "2", kept)
    assert outcomes(tmp_path / "1", plan) == outcomes(tmp_path / "2", plan)
    assert outcomes(tmp_path / "1", plan) == outcomes(without, plan)
    zero = [cell.budget.shots == 0 for cell in plan.cells]
    assert [cost for cost, is_zero in zip(saved, zero, strict=True) if is_zero] == [0, 0]
    assert all(less < more for less, more, is_zero in zip(saved, costs, zero, strict=True)
               if is_zero)  # fmt: skip
    assert sum(saved) < sum(costs)
    assert first.notes == again.notes == []


def test_queries_and_pools_are_kept_once_whatever_the_shots(tmp_path, plan):
    run(plan, tmp_path / "1", tmp_path / "cache")
    found = sorted(
        (entry.notes["attack"], entry.notes["what"], len(entry.images))
        for entry in (example_cache.read(file.path) for file in files(tmp_path / "cache"))
    )
    each = [("query", 40), ("support of episodes 0 to 1", 200)]
    attacks = sorted({cell.attack for cell in plan.cells})
    assert found == [(attack, *what) for attack in attacks for what in each]
    names = [file.path for file in files(tmp_path / "cache")]
    run(tiny_plan("pgd_linf[steps=2]", shots=[3]), tmp_path / "1", tmp_path / "cache")
    assert sorted(file.path for file in files(tmp_path / "cache")) == sorted(names)


# The limit.


def entry(n=10):
    images = torch.rand(n, 1, 8, 8, generator=stream("entry"))
    return Entry(images, torch.ones(n).bool(), torch.zeros(n).bool(), {"outside": "0"})


A, B, C, D, E = (letter * 32 for letter in "abcde")


def keys(folder):
    return {file.path.stem for file in files(folder)}


def aged(folder, key, seconds):
    path = folder / f"{key}.safetensors"
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_what_was_used_least_recently_goes_first(tmp_path):
    one = Cache(tmp_path, GIGA, pytest.fail)
    for age, key in enumerate((A, B, C, D)):
        one.put(key, entry())
        aged(tmp_path, key, 1000 - age)
    assert one.get(A) is not None, "used just now"
    size = files(tmp_path)[0].size
    small = Cache(tmp_path, 3 * size + example_cache.HEADER, pytest.fail)
    small.put(E, entry())
    assert keys(tmp_path) == {A, D, E}


@pytest.mark.parametrize("few", [0, 1000])
def test_the_limit_holds_after_every_write(tmp_path, monkeypatch, few):
    monkeypatch.setattr(example_cache, "FEW", few)
    limit = 50_000
    kept = Cache(tmp_path, limit, pytest.fail)
    for index in range(60):
        kept.put(f"{index:032x}", entry(1 + index % 7))
        assert sum(file.size for file in files(tmp_path)) <= limit
    assert sum(file.size for file in files(tmp_path)) > limit / 2, "and it is made use of"
    assert f"{59:032x}" in keys(tmp_path)


def test_an_entry_above_the_limit_is_not_kept_and_said(tmp_path):
    notes = []
    kept = Cache(tmp_path, 5000, notes.append)
    kept.put(A, entry(100))
    assert not files(tmp_path)
    assert "cache limit of 5,000 bytes is below one entry" in notes[0]
    kept.put(B, entry(1))
    assert keys(tmp_path) == {B}


def test_files_of_others_are_never_dropped(tmp_path):
    others = [f"digits-small_cnn-standard-s0-{'0' * 16}.safetensors", ".other.tmp", "notes.txt"]
    for name in others:
        (tmp_path / name).write_bytes(bytes(20_000))
        os.utime(tmp_path / name, (0, 0))
    kept = Cache(tmp_path, 5000, pytest.fail)
    kept.put(A, entry(1))
    kept.put(B, entry(1))
    assert {path.name for path in tmp_path.iterdir()} >= set(others)


def test_half_files_of_killed_writers_count_and_go_when_they_are_old(tmp_path):
    (tmp_path / ".reattack-new.tmp").write_bytes(bytes(20_000))
    (tmp_path / ".reattack-old.tmp").write_bytes(bytes(20_000))
    os.utime(tmp_path / ".reattack-old.tmp", (0, 0))
    Cache(tmp_path, 30_000, pytest.fail).put(A, entry())
    assert {path.name for path in tmp_path.iterdir()} == {".reattack-new.tmp", f"{A}.safetensors"}


# Folders that cannot be written.


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_under_the_cache_costs_one_line_and_no_result(
    tmp_path, plan, without, monkeypatch
):
    genuine = example_cache.write

    def write(path, key, made):
        if len(files(path.parent)) < 2:
            return genuine(path, key, made)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", full)
            return genuine(path, key, made)

    monkeypatch.setattr(example_cache, "write", write)
    watch, _ = run(plan, tmp_path / "results", tmp_path / "cache")
    (note,) = watch.notes
    assert note.startswith(f"cannot write the cache {tmp_path / 'cache'} (No space left on device)")
    assert outcomes(tmp_path / "results", plan) == outcomes(without, plan)
    assert len(list((tmp_path / "cache").iterdir())) == 2, "and no litter"


def test_a_cache_that_is_no_folder_costs_one_line_and_no_result(tmp_path, plan, without):
    (tmp_path / "cache").write_text("a file")
    watch, _ = run(plan, tmp_path / "results", tmp_path / "cache")
    (note,) = watch.notes
    assert note.startswith(f"cannot write the cache {tmp_path / 'cache'} (")
    assert note.endswith("): going on without it")
    assert outcomes(tmp_path / "results", plan) == outcomes(without, plan)


def test_reading_names_the_file_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"x\.safetensors: not a readable cache file$"):
        example_cache.read(tmp_path / "x.safetensors")
