"""attacks.md: every defense under one attack, beside the others."""

from __future__ import annotations

from report_records import outcome, record

from reports.summary.by_attack import by_attack
from reports.tidy.aggregate import views
from reports.tidy.frame import from_records

STRONG = outcome([[1, 1, 0, 0]], [[1, 1, 1, 1]], [[1, 1, 1, 0]])
"""robust@0 50, static@K 100, robust@K 75."""


def page(*records):
    return by_attack(views(from_records(records)).attacks)


def lines_of(text):
    """The cells of each line of the tables, heads and rules left out."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [cells for cells in lines if cells[0] != "defense" and set(cells[0]) != {"-"}]


def test_a_row_has_what_its_records_say_and_the_most_robust_is_first():
    both = [("weak", None), ("strong", STRONG)]
    made = [record(shots=k, defense=name, result=found) for name, found in both for k in (0, 5)]
    found = lines_of(page(*made))
    assert [cells[0] for cells in found] == ["strong", "weak"]
    clean, before, after, clean_after, size = found[0][2:]
    assert (clean, before, after, clean_after) == ("100.0", "50.0", "75.0 (100.0)", "100.0")
    assert size == "4 x 1 x 1"


def test_every_attack_has_a_table_and_without_adaptation_there_is_robust_at_0():
    text = page(record("pgd_l2", shots=0), record("square", shots=0, result=STRONG))
    assert text.count("### ") == 2
    assert [cells[3] for cells in lines_of(text)] == ["0.0", "50.0"]


def test_a_line_with_a_hole_is_left_out_and_an_absent_k_is_empty():
    text = page(
        record(shots=5, result=STRONG), record(shots=5, seed=1, status="failed", reason="x"),
        *(record(shots=k, defense="other", result=STRONG) for k in (0, 1, 5)),
        record(shots=1, defense="third", result=STRONG),
    )  # fmt: skip
    found = {cells[0]: cells for cells in lines_of(text)}
    assert set(found) == {"other", "third"}
    assert found["third"][4:6] == ["75.0 (100.0)", ""]


def test_names_are_escaped():
    assert "<script>" not in page(record(defense="<script>", shots=0))
