"""What `amplify` found out stands on the page, and methods with options are rows of their own."""

from __future__ import annotations

import json
from pathlib import Path

from report_records import outcome, record

from benchmark.results.records import Inferred, Record
from reports.archive.trust import doubts
from reports.leaderboard.detail import _facts
from reports.tidy.aggregate import headline
from reports.tidy.format import adaptations
from reports.tidy.frame import from_records
from reports.tidy.sources import Sourced

FOUND = Inferred(
    kind="warp", found="a warp of rank 2", residuals={"warp": 0.003, "mask": 0.41, "filter": None},
    pairs=70, sets=1, size=1.1,
)  # fmt: skip
BASELINE = "amplify[representations=none]"


def amplified(method="amplify"):
    result = outcome([[1, 0, 0, 0]], [[1, 1, 0, 0]], [[1, 1, 0, 0]])
    result = result.model_copy(update={"inferred": [FOUND]})
    return record("rotation_translation", result=result, method=method, knowledge="pairs")


def test_a_record_keeps_what_was_found():
    made = amplified()
    read = Record.model_validate(json.loads(made.model_dump_json()))
    assert read == made and list(read.outcome.inferred[0].residuals) == ["warp", "mask", "filter"]
    assert not [one for one in doubts(made) if "adapt" in one]


def test_the_page_says_what_was_found():
    facts = dict(_facts([Sourced(amplified(), Path("x.json"))]))
    assert facts["inferred"] == (
        "rotation_translation, K = 5, first draw: "
        "a warp of rank 2, residual 0.003; runner-up a mask, 0.41"
    )
    assert "inferred" not in dict(_facts([Sourced(record(), Path("x.json"))]))


def test_other_options_are_another_row():
    table = headline(from_records([record(shots=0), amplified(), amplified(BASELINE)]))
    lines = table[(table["scope"] == "all") & (table["over"] == "family mean")]
    assert {"amplify, pairs", f"{BASELINE}, pairs"} <= set(adaptations(lines))
