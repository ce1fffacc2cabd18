"""Audits on disk: what is written is read, and nothing else is."""

import json

import numpy as np
import pytest
from planted_audits import RANDOM, ZERO, audit_of, keep, rich_audit
from pydantic import ValidationError
from report_records import HOSTILE, record

from benchmark.core.errors import UsageError
from benchmark.results import sealing
from benchmark.results.audits import Checked, audit_files, content, parse_audit, read_audit
from benchmark.results.flags import Flag


@pytest.mark.parametrize("name", ["standard", *HOSTILE, "e_at[start=pgd_at[epochs=2]]"])
def test_what_is_written_is_read_and_stays_in_its_folder(tmp_path, name):
    one = record(defense=name, weights="w")
    audit = rich_audit(one)
    path = keep(tmp_path, one, audit)
    assert read_audit(path) == audit
    assert path.resolve().is_relative_to(tmp_path / "audits" / "digits" / "small_cnn")
    assert audit_files(tmp_path) == [path]


def test_the_worst_flag_is_the_verdict():
    one = record()
    assert audit_of(one).verdict == "sound"
    assert audit_of(one, RANDOM).verdict == "doubtful"
    both = audit_of(one, RANDOM, ZERO)
    assert (both.verdict, str(both)) == ("broken", "broken (zero gradients, randomised)")
    assert (
        str(audit_of(one, RANDOM, planned=["model", "b"])) == "doubtful, 1 of 2 parts (randomised)"
    )


def test_a_code_of_several_parts_counts_once():
    parts = {name: Checked(flags=[ZERO]) for name in "abc"}
    assert audit_of(record(), parts=parts).flags == [ZERO]


def test_no_byte_of_a_file_is_free(tmp_path):
    """Damaged anywhere it is refused, or says the same."""
    one = record()
    audit = rich_audit(one)
    raw = keep(tmp_path, one, audit).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for place in rng.choice(len(raw), 400, replace=False):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << int(rng.integers(8))
        try:
            assert parse_audit(bytes(damaged), "x") == audit  # a space is a tab, say
        except UsageError as error:
            refused += 1
            assert str(error).startswith("x: not a readable audit (") and "\n" not in str(error)
    assert refused > 300


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"schema_version": 2}, "written by schema 2, this version reads 1"),
        ({"more": 1}, "Extra inputs are not permitted"),
        ({"images": -1}, "images"), ({"parts": []}, "parts"),
        ({"parts": {"a": {"flags": [{"code": "nobody", "message": ""}]}}}, "nobody explains"),
        ({"parts": {"a": {"numbers": {"x": "1e999"}}}}, "numbers"),
    ],
)  # fmt: skip
def test_a_well_sealed_file_of_nonsense_is_refused(change, why):
    found = json.loads(content(audit_of(record())))
    text = json.dumps(sealing.seal({**found, **change}))
    with pytest.raises(UsageError, match="not a readable audit") as raised:
        parse_audit(text.encode(), "x")
    assert why in str(raised.value)


def test_numbers_are_numbers_and_codes_are_explained():
    with pytest.raises(ValidationError, match="finite"):
        Checked(numbers={"x": float("nan")})
    with pytest.raises(ValidationError, match="a flag that nobody explains, 'odd'"):
        Flag(code="odd", message="")


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not a readable audit"):
        read_audit(tmp_path)
    (tmp_path / "empty.json").write_bytes(b"")
    with pytest.raises(UsageError, match="not a readable audit"):
        read_audit(tmp_path / "empty.json")
