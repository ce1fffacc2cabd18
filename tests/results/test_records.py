"""Records: what may be written, and verdicts bit by bit."""

from __future__ import annotations

import base64
import tracemalloc

import numpy as np
import pytest
from pydantic import ValidationError
from report_records import PROVENANCE, outcome

from benchmark.core.schema import short_hash
from benchmark.results.records import Budget, Cell, Record, Verdicts


def cell(**changes) -> Cell:
    return Cell(
        **{
            "dataset": "digits", "network": "small_cnn", "defense": "standard", "seed": 0,
            "attack": "fgsm", "budget": Budget(shots=0, method="none"), "limit": 2, **changes,
        }
    )  # fmt: skip


def record(**changes) -> Record:
    return Record(
        **{
            "cell": cell(), "status": "done", "family": "linf-gradient", "threat": "linf 0.1",
            "norm": "linf", "origin": "test", "provenance": PROVENANCE, "fingerprint": {},
            "outcome": outcome([[1, 0]], [[1, 0]], [[0, 0]]), **changes,
        }
    )  # fmt: skip


def test_a_cell_of_another_seed_differs_in_nothing_else():
    first = cell(shown=("fgsm", "square"), limit=7, episodes=3)
    other = first.seeded(5)
    assert other == cell(seed=5, shown=("fgsm", "square"), limit=7, episodes=3) != first
    assert Cell.model_validate_json(other.model_dump_json()) == other
    assert hash(other) == hash(first.model_copy(update={"seed": 5}))
    assert first.seed == 0
    with pytest.raises(ValidationError, match="frozen"):
        other.seed = 1


def test_cells_of_many_seeds_take_less_than_half_of_what_copies_take():
    def bytes_of(make, n=1000):
        tracemalloc.start()
        kept = [make(number) for number in range(n)]
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return used / len(kept)

    first = cell()
    copied = bytes_of(lambda seed: first.model_copy(update={"seed": seed}))
    assert bytes_of(first.seeded) < copied / 2


@pytest.mark.parametrize("seed", range(20))
def test_verdicts_come_back_bit_by_bit(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(0 if seed < 5 else 1, (6, 40)))
    table = rng.random(shape) < rng.random()
    packed = Verdicts.pack(table)
    assert np.array_equal(packed.unpack(), table)
    assert Verdicts.model_validate_json(packed.model_dump_json()) == packed
    assert len(base64.b64decode(packed.bits)) == -(-table.size // 8)


def test_one_bit_is_one_verdict():
    table = np.zeros((2, 5), dtype=bool)
    bits = {Verdicts.pack(table).bits}
    for place in np.ndindex(*table.shape):
        flipped = table.copy()
        flipped[place] = True
        bits.add(Verdicts.pack(flipped).bits)
    assert len(bits) == 11


@pytest.mark.parametrize(
    ("bits", "message"),
    [("AAA=", "verdicts hold 2 bytes; 1 episodes x 4 images need 1"), ("?!", "base64")],
)
def test_verdicts_of_another_length_are_refused(bits, message):
    with pytest.raises(ValidationError, match=message):
        Verdicts(episodes=1, n=4, bits=bits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcome": None}, "status 'done' and outcome None"),
        ({"status": "failed", "reason": "x"}, "status 'failed' and outcome"),
        ({"status": "failed", "outcome": None}, "must say why"),
        ({"status": "skipped", "outcome": None, "reason": ""}, "must say why"),
        ({"status": "lost"}, "Input should be 'done', 'skipped' or 'failed'"),
        ({"surprise": 1}, "Extra inputs are not permitted"),
        ({"schema_version": 4}, "Input should be 1, 2 or 3"),
    ],
)
def test_a_record_says_one_thing(changes, message):
    with pytest.raises(ValidationError, match=message):
        record(**changes)


def test_a_record_survives_json():
    for made in (record(), record(status="skipped", outcome=None, reason="needs 3 channels")):
        assert Record.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("budget", "adapts", "text"),
    [
        (Budget(shots=5, steps=10, lr=0.05), True, "k05-finetune-captured-t10-lr0.05"),
        (Budget(shots=0, steps=10, lr=0.05), False, "k00"),
        (Budget(shots=5, steps=0), False, "k00"),
        (Budget(shots=5, steps=10, method="none"), False, "k00"),
    ],
)
def test_a_budget_knows_whether_it_adapts(budget, adapts, text):
    assert (budget.adapts, str(budget)) == (adapts, text)


@pytest.mark.parametrize("changes", [{"shots": -1}, {"shots": 1, "method": "magic"}])
def test_a_budget_that_makes_no_sense_is_refused(changes):
    with pytest.raises(ValidationError):
        Budget(**changes)


def test_a_short_hash_keeps_parts_apart():
    assert short_hash("ab", "c") != short_hash("a", "bc")
    assert len(short_hash("x")) == 16
