"""A record is reused only while its model answers as it did, whatever no hash sees."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from benchmark.results.answers import Answers, same
from benchmark.results.store import read_record, record_files, write_record

MINE = """
import os
import random
from pathlib import Path

import numpy as np
import torch
from torch import nn


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)
        rng = torch.Generator().manual_seed(0)
        self.head.weight.data = torch.randn(10, 64, generator=rng)

    def forward(self, images):
        return self.head(images.flatten(1)).roll(self.turn(), 1)

    def turn(self):
        return 0


class ReadsFile(Linear):
    def turn(self):
        return int((Path(__file__).parent / "turn.txt").read_text())


class ReadsVariable(Linear):
    def turn(self):
        return int(os.environ.get("TURN_OF_MINE", "0"))


class HoldsTensor(Linear):
    def __init__(self):
        super().__init__()
        self.held = torch.tensor(int((Path(__file__).parent / "turn.txt").read_text()))

    def turn(self):
        return int(self.held)


class HoldsBuffer(HoldsTensor):
    def __init__(self):
        super().__init__()
        held = self.held
        del self.held
        self.register_buffer("held", held, persistent=False)


class DrawsFromTorch(Linear):
    def forward(self, images):
        return super().forward(images + 0.1 * torch.randn_like(images))


class DrawsFromNumpy(Linear):
    def turn(self):
        return np.random.randint(2)


class DrawsFromPython(Linear):
    def turn(self):
        return random.randrange(2)


class Counts(Linear):
    asked = 0

    def turn(self):
        self.asked += 1
        return self.asked % 2
"""
CHANGING = ("ReadsFile", "ReadsVariable", "HoldsTensor", "HoldsBuffer")
DRAWING = ("DrawsFromTorch", "DrawsFromNumpy", "DrawsFromPython")


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(size=(12, 10)).astype("float32")


def test_they_are_packed_to_the_bit(table):
    assert np.array_equal(Answers.pack(table).unpack(), table)
    assert np.array_equal(Answers.pack(np.asfortranarray(table)).unpack(), table)


def rounded(table, by):
    signs = np.random.default_rng(1).choice([-1, 1], table.shape)
    return table + by * np.abs(table).max() * signs


@pytest.mark.parametrize(("by", "expected"), [(1e-6, True), (5e-5, True), (1e-3, False)])
def test_logits_may_differ_by_rounding(table, by, expected):
    table[:, 3] += 10  # no decision is near
    assert same(Answers.pack(table), Answers.pack(rounded(table, by))) is expected
    assert same(Answers.pack(1e5 * table), Answers.pack(1e5 * rounded(table, by))) is expected


def test_one_logit_of_one_image_is_enough(table):
    other = table.copy()
    other[7, 2] -= 1e-3 * np.abs(table).max()
    assert not same(Answers.pack(table), Answers.pack(other))


@pytest.mark.parametrize(("lead", "expected"), [(0.0, True), (1e-7, True), (1e-5, False)])
def test_other_decisions_count_unless_there_was_none(lead, expected):
    """Two that are equal but for rounding: which is the larger says nothing."""
    before = np.array([[1 + lead, 1.0, 0.0]])
    after = np.array([[1.0, 1 + 2 * lead + 1e-7, 0.0]])
    assert same(Answers.pack(before), Answers.pack(after)) is expected


def test_other_shapes_are_other_answers(table):
    assert not same(Answers.pack(table), Answers.pack(table[:11]))
    assert not same(Answers.pack(table), Answers.pack(table.reshape(10, 12)))
    assert same(Answers.pack(table[:, :1]), Answers.pack(table[:, :1]))
    assert same(Answers.pack(0 * table), Answers.pack(0 * table))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(table, value):
    table[3, 4] = value
    with pytest.raises(ValidationError, match="not finite"):
        Answers.pack(table)


@pytest.mark.parametrize(
    "changes",
    [{"rows": 11}, {"classes": 11}, {"rows": 0}, {"rows": 2**40}, {"logits": ""},
     {"logits": "no base64!"}, {"logits": "\ud800"}, {"logits": "MTIzNA=="}],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_refused(table, changes):
    with pytest.raises(ValidationError):
        Answers.model_validate(Answers.pack(table).model_dump() | changes)


@pytest.fixture
def mine(run, tmp_path):
    """Runs models of one file beside each other; gives what the run noted as stale."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "turn.txt").write_text("0")

    def call(*names):
        ended = run(defense=",".join(f"{tmp_path}/mine.py:{name}" for name in names))
        assert ended.code == 0, ended.err
        return [line for line in ended.err.splitlines() if line.startswith("stale")]

    return call


def written(results):
    return {path: path.read_bytes() for path in record_files(results)}


def test_what_no_hash_sees_makes_a_record_stale(mine, tmp_path, monkeypatch):
    assert mine("Linear", *CHANGING) == []
    before = written(tmp_path / "results")
    assert mine("Linear", *CHANGING) == []
    assert written(tmp_path / "results") == before
    (tmp_path / "turn.txt").write_text("1")
    monkeypatch.setenv("TURN_OF_MINE", "1")
    notes = mine("Linear", *CHANGING)
    assert [name for name in CHANGING if any(f"mine.py:{name}/" in note for note in notes)] == [
        *CHANGING
    ]
    assert len(notes) == len(CHANGING)  # and Linear is as it was
    assert all("answers" in note.partition("k00 (")[2] for note in notes)


def test_models_that_draw_random_numbers_are_reused(mine, tmp_path):
    assert mine(*DRAWING) == []
    before = written(tmp_path / "results")
    assert len(before) == len(DRAWING)
    assert mine(*DRAWING) == []
    assert written(tmp_path / "results") == before


def test_a_model_that_never_answers_alike_has_no_answers(mine, tmp_path):
    assert mine("Counts", "Linear") == []
    found = {path: read_record(path).answers for path in record_files(tmp_path / "results")}
    assert {("Counts" in str(path)): answers is None for path, answers in found.items()} == {
        True: True, False: False
    }  # fmt: skip


def stored(results, change):
    """The answers of the one record, changed."""
    (path,) = record_files(results)
    record = read_record(path)
    answers = change(record.answers.unpack())
    packed = None if answers is None else Answers.pack(answers)
    write_record(results, record.model_copy(update={"answers": packed}))


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (lambda table: rounded(table, 1e-6), False),
        (lambda table: None, False),
        (lambda table: rounded(table, 1e-3), True),
        (lambda table: np.roll(table, 1, axis=1), True),
        (lambda table: table[:, :9], True),
    ],
    ids=["of another processor", "none", "slightly others", "other decisions", "another shape"],
)
def test_stored_answers_are_compared(mine, tmp_path, change, stale):
    mine("Linear")
    stored(tmp_path / "results", change)
    before = written(tmp_path / "results")
    assert ["(answers changed)" in note for note in mine("Linear")] == [True] * stale
    assert (written(tmp_path / "results") != before) is stale
