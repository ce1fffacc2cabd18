"""The hash of a record: what is not as it was written is not read, and runs again."""

from __future__ import annotations

import base64
import json

import pytest
from gate_records import folder
from report_records import matrix
from test_record_checks import FAULTS, table

from benchmark.core.errors import UsageError
from benchmark.results.records import UNCHECKED
from benchmark.results.sealing import digest, opened, parse, seal
from benchmark.results.store import read_record, read_records, record_path, sealed
from reports.archive.reference import read_file, write_file
from reports.tidy.frame import from_records


@pytest.fixture
def made():
    return matrix(defenses=("a", "b"), attacks=("fgsm", "pgd_linf"), shots=(0, 5), n=60)


@pytest.fixture
def path(tmp_path, made):
    """Of an adapted cell: three episodes."""
    return record_path(folder(tmp_path / "results", made), made[1].cell)


@pytest.mark.parametrize("bit", range(8))
def test_one_flipped_verdict_is_not_read(path, bit):
    content = json.loads(path.read_text())
    raw = bytearray(base64.b64decode(content["outcome"]["static"]["bits"]))
    raw[3] ^= 1 << bit
    content["outcome"]["static"]["bits"] = base64.b64encode(raw).decode()
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="its hash is of another content"):
        read_record(path)


def test_eight_flipped_verdicts_run_again_and_cost_one_line(finished, run, tmp_path, capsys):
    """On a copy, since what was finished must stay as it is to the byte."""
    copy = tmp_path / "copy"
    assert run("--quiet", results=copy).code == 0
    (path,) = (copy / "records").rglob("*.json")
    before = read_record(path)
    content = json.loads(path.read_text())
    for name in ("before", "static", "reattacked"):
        content["outcome"][name] = table(1, before.outcome.n, 0)
    path.write_text(json.dumps(content))
    ended = run("--json", "--quiet", results=copy)
    assert (ended.code, ended.line.startswith(f"{path}: not a readable record")) == (0, True)
    assert read_record(path).outcome == before.outcome
    assert json.loads(ended.out)["cells"][0]["robust"] == before.outcome.reattacked.unpack().mean()


def test_spaces_and_the_order_of_keys_are_no_damage(path):
    before, content = read_record(path), json.loads(path.read_text())
    path.write_text(json.dumps(dict(reversed(content.items())), indent=7))
    assert read_record(path) == before


def test_a_record_of_an_older_version_lacks_a_field_and_is_whole(path):
    """Its hash is over what was written, not over what is made of it now."""
    before, content = read_record(path), json.loads(path.read_text())
    for field in ("flags", "probes"):
        assert not content.pop(field)
    path.write_text(json.dumps(seal(content)))
    assert read_record(path) == before
    assert opened(sealed(before)) == json.loads(before.model_dump_json())


def test_what_is_said_otherwise_has_another_hash():
    one = {"a": [1, 2.0, None, True, "x"], "b": {"c": "\u00e9"}}
    assert (
        digest(one)
        == digest(json.loads(json.dumps(one)))
        == digest(parse(json.dumps(one).encode()))
    )
    others = (
        {**one, "a": [1, 2, None, True, "x"]}, {**one, "a": [2.0, 1, None, True, "x"]},
        {**one, "b": {"c": "e\u0301"}}, {**one, "d": None}, {"a": one["a"]}, [one],
        {**one, "a": [1, 2.0, None, 1, "x"]},
    )  # fmt: skip
    assert len({digest(other) for other in (one, *others)}) == len(others) + 1


# Schema 1.


def old(record):
    return record.model_copy(update={"schema_version": 1})


def test_records_of_schema_1_are_read_and_marked(tmp_path, made):
    place = folder(tmp_path / "old", [old(one) for one in made])
    (path, *_) = sorted((place / "records").rglob("*.json"))
    assert "content" not in json.loads(path.read_text())
    found, problems = read_records(place)
    assert len(found) == len(made) and not problems
    assert all(UNCHECKED in flags for flags in from_records(found)["flags"])
    assert not any(UNCHECKED in flags for flags in from_records(made)["flags"])


def test_records_of_schema_1_stay_so_when_they_are_packed(tmp_path, made):
    """Whoever packs them does not vouch for what nobody can check."""
    path = write_file([old(made[0]), made[1]], tmp_path / "x.records.gz")
    assert sorted(one.schema_version for one in read_file(path)) == [1, 3]


@pytest.mark.parametrize("fault", ["static on 10 images", "robust, not clean", "fewer episodes"])
def test_records_of_schema_1_are_checked_too(path, fault):
    content = json.loads(path.read_text()) | {"schema_version": 1}
    del content["content"]
    path.write_text(json.dumps(content))
    assert read_record(path).all_flags == [UNCHECKED]
    FAULTS[fault](content)
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match="not a valid record"):
        read_record(path)


def test_no_record_gets_rid_of_its_hash(path):
    """Neither by saying that it is older, nor by saying nothing."""
    content = json.loads(path.read_text())
    for other in (
        content | {"schema_version": 1},
        {key: value for key, value in content.items() if key != "schema_version"},
        {key: value for key, value in content.items() if key != "content"},
        content | {"content": None},
    ):
        path.write_text(json.dumps(other))
        with pytest.raises(UsageError, match=r"not a (valid|readable) record"):
            read_record(path)
