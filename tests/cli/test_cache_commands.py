"""`cache ls|prune|verify` as a user meets them."""

from __future__ import annotations

import json
import os
import time

import pytest
import torch

from benchmark.artifacts.example_cache import Entry, files, write

ATTACKS = ["fgsm", "pgd_linf[steps=5]", "square"]
DAY = 86400


def keys():
    return [f"{index:032x}" for index in range(len(ATTACKS))]


@pytest.fixture
def folder(tmp_path):
    """Three entries last used 3, 2 and 1 days ago, 4, 8 and 12 images large."""
    for age, (key, attack) in enumerate(zip(keys(), ATTACKS, strict=True)):
        n = 4 * (age + 1)
        verdicts = torch.ones(n).bool()
        notes = {"what": "query", "trained": "digits/net/[x]/s0", "attack": attack, "outside": "0"}
        path = tmp_path / "cache" / f"{key}.safetensors"
        write(path, key, Entry(torch.full((n, 1, 8, 8), 0.5), verdicts, ~verdicts, notes))
        then = time.time() - (3 - age) * DAY - 60
        os.utime(path, (then, then))
    return tmp_path / "cache"


@pytest.fixture
def call(command, folder):
    return lambda *words: command("cache", *words, "--cache", folder)


def names(folder):
    return {file.path.stem for file in files(folder)}


def litter(folder, age):
    path = folder / ".reattack-x.tmp"
    path.write_bytes(bytes(100))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def test_ls_shows_each_entry_and_the_total(call, folder):
    ended = call("ls")
    assert (ended.code, ended.err) == (0, "")
    head, *rows, total = ended.out.splitlines()
    assert head.split() == ["what", "trained", "attack", "images", "size", "age", "last", "used"]
    assert [row.split()[:4] for row in rows] == [
        ["query", "digits/net/[x]/s0", attack, str(n)]
        for attack, n in zip(reversed(ATTACKS), (12, 8, 4), strict=True)
    ]
    assert [row.split()[-2:] for row in rows] == [["1", "d"], ["2", "d"], ["3", "d"]]
    assert total.startswith("3 files, ")
    assert total.endswith(f" KB in {folder}")


def test_ls_json_says_the_same_and_touches_nothing(call, folder):
    before = files(folder)
    document = json.loads(call("ls", "--json").out)
    assert document["bytes"] == sum(file.size for file in before)
    assert [entry["attack"] for entry in document["entries"]] == ATTACKS[::-1]
    assert [entry["images"] for entry in document["entries"]] == [12, 8, 4]
    assert all(abs(entry["created"] - time.time()) < 600 for entry in document["entries"])
    assert files(folder) == before


def test_ls_of_many_stops_after_some(call, monkeypatch):
    monkeypatch.setattr("benchmark.cli.commands.cache.SHOWN", 2)
    lines = call("ls").out.splitlines()
    assert len(lines) == 5
    assert lines[3] == "... and 1 used before them; --json has them all"


def test_ls_names_what_is_no_entry(call, folder):
    (folder / f"{keys()[0]}.safetensors").write_text("nothing")
    litter(folder, 10)
    what = [entry["what"] for entry in json.loads(call("ls", "--json").out)["entries"]]
    assert sorted(what) == ["half-written", "query", "query", "unreadable"]


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (["--all"], []),
        (["--older", "36h"], [2]),
        (["--older", "2.5d"], [1, 2]),
        (["--older", "30d"], [0, 1, 2]),
        ([], [0, 1, 2]),
        (["--limit", "0"], []),
        (["--limit", "6500"], [1, 2]),
        (["--limit", "4kB"], [2]),
        (["--limit", "4kB", "--older", "1h"], []),
    ],
)
def test_prune_drops_what_was_used_longest_ago(call, folder, words, kept):
    before = files(folder)
    document = json.loads(call("prune", "--json", *words).out)
    assert names(folder) == {keys()[index] for index in kept}
    assert document["removed"] == 3 - len(kept)
    left = sum(file.size for file in files(folder))
    assert document["left_bytes"] == left
    assert document["removed_bytes"] == sum(file.size for file in before) - left


def test_prune_says_what_it_removed(call, folder):
    ended = call("prune", "--all")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("removed 3 files, ")
    assert ended.out.endswith(f"; 0 files, 0 B are left in {folder}\n")


@pytest.mark.parametrize(("age", "stays"), [(60, True), (7200, False)])
def test_prune_removes_what_a_kill_left_but_not_what_is_being_written(call, folder, age, stays):
    path = litter(folder, age)
    assert call("prune").code == 0
    assert path.exists() == stays
    assert len(names(folder) & set(keys())) == 3
    call("prune", "--all")
    assert path.exists() == stays


def test_verify_of_a_good_folder(call, folder):
    assert call("verify") == (0, f"3 files, 0 corrupt in {folder}\n", "")


def test_verify_finds_one_flipped_bit(call, folder):
    path = folder / f"{keys()[1]}.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)
    ended = call("verify")
    assert ended.code == 1
    assert ended.line == f"{path}: not as it was written (damaged or changed)"
    assert ended.out == f"3 files, 1 corrupt in {folder}\n"
    assert path.exists(), "nothing is removed unasked"
    document = json.loads(call("verify", "--json", "--delete").out)
    assert document["files"] == 3
    assert document["corrupt"] == [f"{ended.line}; removed"]
    assert names(folder) == {keys()[0], keys()[2]}
    assert call("verify").code == 0


@pytest.mark.parametrize("name", ["ls", "prune", "verify"])
def test_a_folder_that_is_not_there(command, tmp_path, name):
    ended = command("cache", name, "--results", tmp_path)
    ended.refused(f"no cache at {tmp_path / 'cache'}", "--results or --cache")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--limit", "many"], "--limit: expected a size such as 500MB or 2GB, got 'many'"),
        (["--limit", "-1GB"], "--limit: expected a size"),
        (["--older", "30x"], "--older: expected a time such as 90m, 12h or 30d, got '30x'"),
    ],
)
def test_amounts_that_make_no_sense(call, folder, words, expected):
    call("prune", *words).refused(expected)
    assert len(files(folder)) == 3


@pytest.mark.parametrize("name", ["ls", "prune", "verify"])
def test_help_has_worked_examples(command, name):
    ended = command("cache", name, "--help")
    assert ended.code == 0
    assert "python -m benchmark cache prune --older 30d" in ended.out


# The flags of `run`.


def test_a_run_keeps_examples_in_its_results_folder_and_uses_them(run, tmp_path):
    results = tmp_path / "results"
    assert run("--quiet").code == 0
    (kept,) = files(results / "cache")
    for path in (results / "records").rglob("*.json"):
        path.unlink()
    again = json.loads(run("--json", "--quiet").out)
    assert again["cells"][0]["status"] == "done"
    assert [file.path for file in files(results / "cache")] == [kept.path]


def test_a_cache_elsewhere_or_none(run, tmp_path):
    assert run("--quiet", "--cache", tmp_path / "shared").code == 0
    assert len(files(tmp_path / "shared")) == 1
    assert run("--quiet", "--no-cache", results=tmp_path / "other").code == 0
    assert not (tmp_path / "results" / "cache").exists()
    assert not (tmp_path / "other" / "cache").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--cache-limit", "lots"], "--cache-limit: expected a size such as 500MB or 2GB"),
        (["--no-cache", "--cache", "x"], "expected --cache DIR or --no-cache, got both; drop one"),
    ],
)
def test_flags_that_make_no_sense(run, words, expected):
    run(*words).refused(expected)
