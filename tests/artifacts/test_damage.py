"""Files damaged by chance: none is read as something else, none ends a command with a traceback.

A tenth of what was once tried is tried here; all of it with REATTACK_FUZZ=all (some minutes).
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections import Counter
from contextlib import suppress
from random import Random

import pytest
import torch
from damage import bytes_changed, header_changed, json_changed
from report_records import matrix, text_of
from test_models import interrupted
from tiny_runs import run, tiny_plan

from baselines.training.resumable_progress import ResumableProgress, Unusable
from benchmark.artifacts import example_cache
from benchmark.artifacts.example_cache import Entry
from benchmark.core.errors import UsageError
from benchmark.results.records import Record
from benchmark.results.store import read_record, record_files
from benchmark.results.weights import read_weights
from reports.archive.reference import read_file, write_file

ALL = os.environ.get("REATTACK_FUZZ") == "all"
RECORDS, MODELS, RUNS, ENTRIES = (1500, 300, 300, 600) if ALL else (150, 30, 4, 60)


def outcome_of(read, equal):
    """How reading a damaged file ends; anything but these raises."""
    try:
        found = read()
    except (UsageError, Unusable) as error:
        assert "\n" not in str(error)
        return "refused"
    return "absent" if found is None else "the same" if equal(found) else "ANOTHER"


def damaged(content, number, changes):
    """Content that is really another, by one of these `changes`."""
    rng = Random(number)
    change = changes[number % len(changes)]
    while (made := change(content, rng)) == content:
        pass
    return made


def told(name, ended, capsys):
    with capsys.disabled():
        print(f"\n{name}: {dict(ended)}")
    assert not ended["ANOTHER"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with two records and a model, and the run that made it."""
    folder = tmp_path_factory.mktemp("damage") / "results"
    return folder, run(tiny_plan(), folder)


def test_records(finished, tmp_path, capsys):
    """Of all: real ones, adapted and not, and one whose JSON has much in it."""
    ended, made = Counter(), tmp_path / "x.json"
    contents = [path.read_bytes() for path in record_files(finished[0])]
    contents.append(text_of(matrix(attacks=("fgsm",), n=397)[-1]).encode())
    for number in range(RECORDS):
        content = contents[number % len(contents)]
        made.write_bytes(content)
        genuine = read_record(made)
        made.write_bytes(damaged(content, number, [bytes_changed, bytes_changed, json_changed]))
        ended[outcome_of(lambda: read_record(made), genuine.__eq__)] += 1
    told("records", ended, capsys)
    assert ended["refused"] > 0.9 * RECORDS, "almost all damage is damage"


def test_files_of_records(tmp_path, capsys):
    ended, path = Counter(), tmp_path / "x.records.gz"
    records = matrix(attacks=("fgsm",), n=100)
    genuine = [*read_file(write_file(records, path))]
    packed = path.read_bytes()
    plain = gzip.decompress(packed)
    for number in range(RECORDS // 5):
        if number % 2:
            path.write_bytes(damaged(packed, number, [bytes_changed]))
        else:
            path.write_bytes(gzip.compress(damaged(plain, number, [bytes_changed])))
        ended[outcome_of(lambda: [*read_file(path)], lambda found: _part(found, genuine))] += 1
    told("files of records", ended, capsys)


def _part(found, genuine):
    """Lines may be lost, doubled or moved at their ends: no hash is over the file."""
    return all(one in genuine for one in found)


def alike(found, genuine):
    return (
        found.notes == genuine.notes
        and found.tensors.keys() == genuine.tensors.keys()
        and all(torch.equal(found.tensors[name], one) for name, one in genuine.tensors.items())
    )


WEIGHTS = [bytes_changed, bytes_changed, header_changed]


@pytest.mark.parametrize("kind", ["model", "snapshot"])
def test_models_and_snapshots(finished, tmp_path, monkeypatch, capsys, kind):
    (path,) = (finished[0] / "models").glob("*.safetensors")
    if kind == "snapshot":
        path = interrupted(tiny_plan(shots=[0]), tmp_path / "begun", monkeypatch)
    genuine, content, ended = read_weights(path), path.read_bytes(), Counter()
    copy = tmp_path / path.name
    course = ResumableProgress(lambda _: None, copy, "training")
    for number in range(MODELS):
        copy.write_bytes(damaged(content, number, WEIGHTS))
        ended[outcome_of(lambda: read_weights(copy), lambda found: alike(found, genuine))] += 1
        assert outcome_of(course.last, lambda _: True) != "ANOTHER"
    told(f"{kind}s", ended, capsys)
    assert ended["refused"] > 0.8 * MODELS


def test_a_run_on_a_damaged_model_leaves_every_record(finished, tmp_path, capsys):
    before, done = finished
    ended = Counter()
    for number in range(RUNS):
        folder = tmp_path / "results"
        shutil.copytree(before, folder)
        (path,) = (folder / "models").glob("*.safetensors")
        path.write_bytes(damaged(path.read_bytes(), number, WEIGHTS))
        again = run(tiny_plan(), folder)
        assert again.ended == {"cached": 2}, again.log.notes
        assert again.records == done.records
        assert len(again.log.notes) == len(again.log.trained) <= 1
        assert all(note.startswith(f"{path}: ") for note in again.log.notes)
        ended["trained again" if again.log.trained else "the same"] += 1
        shutil.rmtree(folder)
    told("runs on a damaged model", ended, capsys)


def test_a_run_on_a_damaged_snapshot_ends_as_an_undisturbed_one(tmp_path, monkeypatch, capsys):
    plan, ended = tiny_plan(shots=[0]), Counter()
    (undisturbed,) = run(plan, tmp_path / "undisturbed").records
    content = interrupted(plan, tmp_path / "begun", monkeypatch).read_bytes()
    for number in range(RUNS):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "begun", folder)
        (path,) = (folder / "models").glob("*.training.safetensors")
        path.write_bytes(damaged(content, number, WEIGHTS))
        again = run(plan, folder)
        assert again.ended == {"done": 1}, again.records[0].reason
        assert again.records[0].outcome == undisturbed.outcome
        assert again.records[0].fingerprint == undisturbed.fingerprint
        ended["from the beginning" if again.log.notes else "gone on"] += 1
        shutil.rmtree(folder)
    told("runs on a damaged snapshot", ended, capsys)


def test_cache_files(tmp_path, capsys):
    ended, key = Counter(), "0" * 32
    rng = torch.Generator().manual_seed(0)
    verdicts = torch.rand(6, generator=rng) < 0.5
    genuine = Entry(torch.rand(6, 1, 8, 8, generator=rng), verdicts, ~verdicts, {"outside": "3"})
    path = tmp_path / f"{key}.safetensors"
    example_cache.write(path, key, genuine)
    content, said = path.read_bytes(), []
    folder = example_cache.Cache(tmp_path, 1 << 30, said.append)
    for number in range(ENTRIES):
        path.write_bytes(damaged(content, number, WEIGHTS))
        how = outcome_of(
            lambda: example_cache.read(path), lambda found: _same_entry(found, genuine)
        )
        said.clear()
        found = folder.get(key)
        assert (found is None) == (how == "refused") == bool(said)
        ended[how] += 1
    told("cache files", ended, capsys)
    assert ended["refused"] > 0.8 * ENTRIES


def _same_entry(found, genuine):
    tensors = zip(found[:3], genuine[:3], strict=True)
    return all(torch.equal(*pair) for pair in tensors) and found.notes["outside"] == "3"


def test_without_its_hash_a_changed_record_may_pass():
    """The control: what is tried above is damage that reads well."""
    content, accepted = text_of(matrix(attacks=("fgsm",), n=100)[0]).encode(), 0
    for number in range(200):
        changed = json.loads(damaged(content, number, [json_changed]))
        with suppress(ValueError):
            Record.model_validate({key: changed[key] for key in changed if key != "content"})
            accepted += 1
    assert accepted > 20
