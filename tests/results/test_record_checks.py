"""Records against themselves: what contradicts itself is named, and left out of nothing silently.

All but those of schema 1 are sealed again here, as no accident would: only the checks can notice.
"""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from gate_records import folder
from report_records import matrix, outcome, record, verdicts
from test_store import spoil

from benchmark.results.records import Outcome, Record, Verdicts
from benchmark.results.sizes import fits
from benchmark.results.store import read_record, read_records, record_path, write_record
from reports.archive.reference import read_file, write_file

N = 60


@pytest.fixture
def made():
    return matrix(defenses=("a", "b"), attacks=("fgsm", "pgd_linf"), shots=(0, 5), n=N)


@pytest.fixture
def results(tmp_path, made):
    return folder(tmp_path / "results", made)


@pytest.fixture
def path(results, made):
    """Of the adapted cell of defense a under fgsm: three episodes."""
    return record_path(results, made[1].cell)


def table(rows, n=N, value=1):
    return verdicts(np.full((rows, n), value)).model_dump()


def put(where, value):
    """Change one thing in a record; `where` is a path of keys."""

    def change(content):
        *above, last = where.split(".")
        for key in above:
            content = content[key]
        content[last] = value

    return change


def all_tables(content, n):
    for name in ("clean_before", "before", "clean", "static", "reattacked"):
        content["outcome"][name] = table(content["outcome"][name]["episodes"], n)


def beyond(content):
    """Bits that no image has: 180 verdicts take 22 bytes and a half."""
    raw = bytearray(base64.b64decode(content["outcome"]["static"]["bits"]))
    raw[-1] |= 1
    content["outcome"]["static"]["bits"] = base64.b64encode(raw).decode()


def lucky(content):
    """The first image of the first episode is wrong, and yet it holds under attack."""
    content["outcome"]["clean"] = table(3, value=0)
    content["outcome"]["reattacked"] = table(3)


def deep(levels):
    return {"x": deep(levels - 1)} if levels else {}


EFFORT = {"seconds": 0, "forwards": 1, "backwards": 1, "images": 1, "updates": 1}
INTEGRITY = {"buffers_moved": [0.0] * 3, "base": ["x", "x"], "shared": [0] * 3, "loss_fell": 1.0}
FAULTS = {
    "static on 10 images": put("outcome.static", table(3, 10)),
    "clean on 61 images": put("outcome.clean", table(3, 61)),
    "no images": lambda content: all_tables(content, 0),
    "2 images under limit 60": lambda content: all_tables(content, 2),
    "61 images under limit 60": lambda content: all_tables(content, 61),
    "no episodes": put("outcome.static", table(0)),
    "fewer episodes": put("cell.episodes", 4),
    "more episodes": put("cell.episodes", 2),
    "two trained models": put("outcome.before", table(2)),
    "moved": put("outcome.moved", [0.1] * 2),
    "losses": put("outcome.support_loss", [[2.0, 1.0]] * 4),
    "adaptation": put("outcome.adaptation", [EFFORT] * 2),
    "integrity": put("outcome.integrity", {**INTEGRITY, "shared": [0] * 2}),
    "robust, not clean": lucky,
    "robust@0, not clean@0": put("outcome.clean_before", table(1, value=0)),
    "bits of no image": beyond,
    "a seed of 2^63": put("cell.seed", 2**63),
    "400 digits": put("cost.forwards", 10**400),
    "options 50 deep": put("provenance.attack_options", deep(50)),
    "400 digits of an option": put("provenance.attack_options", {"steps": 10**400}),
    "9 quadrillion": put("cost.forwards", 2**53 + 1),
    "a day of 10^300 seconds": put("cost.seconds", 1e300),
    "negative": put("outcome.moved", [-0.1] * 3),
    "families": put("cell.shown", ["pgd_l2", "square"]),
}
WRITTEN = {
    "half a character": lambda text: text.replace('"linf-gradient"', r'"\ud800"', 1),
    "half a key": lambda text: text.replace('_options": {}', r'_options": {"\udf00": 1}', 1),
    "NaN": lambda text: text.replace('"seconds": 1.5', '"seconds": NaN'),
    "infinity": lambda text: text.replace('"seconds": 1.5', '"seconds": 1e999'),
    "two records": lambda text: text + text,
    "UTF-16": lambda text: text.encode("utf-16").decode("latin-1"),
    "depth": lambda text: text.replace('"attack_options": {}', f'"attack_options": {"[" * 9**5}'),
}


@pytest.mark.parametrize("fault", [*FAULTS, *WRITTEN])
def test_a_record_that_contradicts_itself_is_named(path, results, made, fault):
    if fault in FAULTS:
        spoil(path, FAULTS[fault])
    else:
        write_record(results, made[1].model_copy(update={"schema_version": 1}))
        assert read_records(results).problems == [], "of schema 1: no hash is in the way"
        written = WRITTEN[fault](path.read_text())
        assert written != path.read_text()
        path.write_text(written)
    records, problems = read_records(results)
    assert len(records) == len(made) - 1
    (problem,) = problems
    assert re.match(rf"{re.escape(str(path))}: not a (valid|readable) record \(", problem)
    assert len(problem) < 700 and problem.isprintable()


def test_without_a_fault_nothing_is_named(path, results, made):
    """The control: changes that contradict nothing, sealed again."""
    for change in (
        put("outcome.static", table(3)), put("cell.seed", 2**63 - 1), put("family", "\U0001f600"),
        put("outcome.integrity", INTEGRITY), put("outcome.adaptation", [EFFORT] * 3),
        put("provenance.attack_options", {"steps": 10**18, "x": 1e300, "y": deep(15)}),
        put("cost.forwards", 2**53),
    ):  # fmt: skip
        spoil(path, change)
        assert read_records(results).problems == []
    assert len(read_records(results).records) == len(made)


@pytest.mark.parametrize("fault", ["no episodes", "400 digits", "a seed of 2^63"])
def test_commands_name_the_file_and_need_it_or_say_so(path, results, command, tmp_path, fault):
    spoil(path, FAULTS[fault])
    out = tmp_path / "out"
    told = command("report", "--results", results, "--out", out)
    assert told.code == 0
    assert told.line.startswith(f"{path}: not a")
    for words in (
        ("leaderboard", "--results", results, "--out", out / "board"),
        ("check", "--update", "--baseline", out / "b.json", "--results", results),
        ("reference", "--results", results, "--out", out / "x.records.gz"),
    ):
        command(*words).refused(str(path), "not a")
    packed = write_file(read_records(results).records, tmp_path / "good.records.gz")
    assert len([*read_file(packed)]) == 7


# Sizes, and what may not be made in the first place.


def test_a_cell_scores_its_limit_or_all_there_is():
    cell = record(limit=60, result=outcome([[0] * 60], [[0] * 60], [[0] * 60])).cell

    def of(n, **changes):
        return fits(cell.model_copy(update=changes), n)

    assert of(60) and not of(59) and not of(61)
    assert of(397, limit=500) and not of(396, limit=500), "digits have 397 test images"
    assert of(397, limit=None) and not of(396, limit=None)
    assert of(3, limit=None, dataset="mine") and of(3, dataset="mine"), "nobody knows how many"
    assert not of(61, dataset="mine")
    assert of(30, split="validation") and not of(61, split="validation"), "some are shown"


def test_an_outcome_that_breaks_a_rule_is_never_made():
    row, none = [[1, 1, 0]], [[0, 0, 0]]
    good = outcome(none, row, row, row, row)
    assert Outcome.model_validate(good.model_dump()) == good
    for clean, reattacked in (([[1, 0, 0]], row), (none, row)):
        with pytest.raises(ValueError, match="wrong before it is attacked"):
            outcome(none, row, reattacked, clean, row)
    assert outcome(none, row, none, none, none).static == verdicts(row), "luck is no contradiction"


@pytest.mark.parametrize("bits", ["4A==", "4B==", "4A==\n", "4A", "8A=="])
def test_verdicts_have_one_way_to_be_written(bits):
    """Three true ones are 0b111 and zeros: 4A== in base64."""
    if bits == "4A==":
        assert Verdicts(episodes=1, n=3, bits=bits).unpack().tolist() == [[True, True, True]]
    else:
        with pytest.raises(ValueError, match=r"verdicts|base64|padding|characters"):
            Verdicts(episodes=1, n=3, bits=bits)


def test_what_is_written_is_read(tmp_path):
    """Also text that is not ASCII, and numbers that JSON has no word for among the options."""
    made = record(reason=None, flags=["\u4e2d\U0001f600\x1b\u2028"])
    provenance = made.provenance.model_copy(update={"attack_options": {"eps": float("inf")}})
    made = made.model_copy(update={"provenance": provenance})
    found = read_record(write_record(tmp_path, made))
    assert found.flags == made.flags
    assert found.provenance.attack_options == {"eps": None}
    assert isinstance(found, Record)
