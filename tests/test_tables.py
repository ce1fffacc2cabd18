"""Over attacks: holes, scopes, ranks, findings; and the pages made of them."""

from __future__ import annotations

import io
import os
import re

import numpy as np
import pandas as pd
import pytest
from report_records import matrix, outcome, random_outcome, record
from rich.console import Console

from benchmark.core.errors import UsageError
from benchmark.core.store import write_record
from reports.console import print_summary
from reports.findings import warnings
from reports.frame import from_records
from reports.headline import headline, per_attack, views
from reports.intervals import wilson
from reports.report import write_report
from reports.summary import summary
from reports.tables import write_tables
from reports.text import markdown, visible

HOSTILE = [
    "<script>alert(1)</script>", "a|b", "../../x", "\u202egnp.exe", "x" * 300, "two\nlines",
    "[link](http://example.org)", "`code`", "**bold**", "\x1b[31mred", "$\\frac{1}{0}$", "\u4e2d",
]  # fmt: skip
ATTACKS = ("fgsm", "pgd_linf", "pgd_l2", "square")


def line(frame, defense, shots, *, scope="all", over="family mean"):
    found = headline(frame)
    chosen = found[(found["defense"] == defense) & (found["shots"] == shots)]
    (row,) = chosen[(chosen["scope"] == scope) & (chosen["over"] == over)].itertuples()
    return row


def without(records, defense, attack, shots):
    return [
        each for each in records
        if (each.cell.defense, each.cell.attack, each.cell.budget.shots)
        != (defense, attack, shots)
    ]  # fmt: skip


def shares(*attacks):
    """A line of one defense: each attack as (name, family, verdicts of robust@5)."""
    return from_records(
        record(name, family=family, result=outcome(row, row, row))
        for name, family, row in attacks
    )  # fmt: skip


def test_headline_goes_over_attacks_by_family_and_in_the_worst_case():
    frame = shares(
        ("a1", "a", [[1, 1, 0, 0]]), ("a2", "a", [[0, 1, 1, 0]]), ("b1", "b", [[1, 1, 1, 0]])
    )
    assert line(frame, "standard", 5).robust == (1 / 4 + 3 / 4) / 2
    assert line(frame, "standard", 5, over="union").robust == 1 / 4
    assert line(frame, "standard", 5, over="union").robust_interval == wilson(1, 4)


def test_an_attack_scored_on_fewer_images_cuts_the_others_to_the_same():
    frame = shares(("a1", "a", [[1, 1, 0, 0]]), ("b1", "b", [[1, 0]]))
    row = line(frame, "standard", 5, over="union")
    assert (row.n, row.robust) == (2, 1 / 2)
    shown = per_attack(frame).set_index("attack")
    assert shown["n"].to_dict() == {"a1": 4, "b1": 2}
    assert shown.loc["a1", "robust"] == 2 / 4


def test_the_order_of_records_does_not_matter():
    records = matrix(attacks=ATTACKS, shots=(0, 5), n=40)
    key = ["defense", "shots", "scope", "over"]
    one, other = (headline(from_records(r)).sort_values(key) for r in (records, records[::-1]))
    pd.testing.assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))


@pytest.mark.parametrize("status", ["missing", "failed", "skipped"])
def test_a_hole_empties_its_line_and_its_rank_only(status):
    records = without(matrix(attacks=ATTACKS, shots=(0, 5), n=40), "pgd_at", "pgd_l2", 5)
    if status != "missing":
        records.append(record("pgd_l2", "pgd_at", 5, status=status, reason="boom"))
    frame = from_records(records)
    hole = line(frame, "pgd_at", 5)
    assert hole.status == status if status != "skipped" else hole.status != "done"
    assert (hole.expected, hole.scored) == (4, 3)
    assert pd.isna([hole.robust, hole.static, hole.clean, hole.n, hole.rank]).all()
    whole = line(frame, "meta_adv", 5)
    assert (whole.status, whole.expected, whole.scored) == ("done", 4, 4)
    assert {line(frame, name, 5).rank for name in ("standard", "meta_adv")} == {1, 2}
    assert {line(frame, name, 0).rank for name in ("standard", "pgd_at", "meta_adv")} == {1, 2, 3}
    shown = per_attack(frame).set_index(["defense", "shots", "attack"])
    assert shown.loc[("pgd_at", 5, "pgd_l2"), "status"] == status
    assert pd.isna(shown.loc[("pgd_at", 5, "pgd_l2"), "robust"])
    assert shown.loc[("pgd_at", 5, "fgsm"), "robust"] > 0


def test_what_can_run_nowhere_is_no_hole():
    records = matrix(attacks=ATTACKS, shots=(0,), n=40)
    records += [
        record("rgb", name, 0, status="skipped", reason="needs 3 channels")
        for name in ("standard", "pgd_at", "meta_adv")
    ]
    row = line(from_records(records), "pgd_at", 0)
    assert (row.status, row.expected, row.skipped) == ("done", 4, 1)


def test_a_missing_training_seed_is_a_hole():
    records = matrix(defenses=("pgd_at",), attacks=("fgsm", "square"), shots=(5,), seeds=(0, 1))
    assert line(from_records(records), "pgd_at", 5).status == "done"
    assert line(from_records(records[:-1]), "pgd_at", 5).status == "missing"


def test_training_seeds_are_averaged_and_widen_the_interval():
    def seed(value, share):
        verdicts = np.arange(200)[None] < share * 200
        return record(seed=value, result=outcome(verdicts, verdicts, verdicts))

    row = line(from_records([seed(0, 0.2), seed(1, 0.6)]), "standard", 5)
    assert row.robust == pytest.approx(0.4)
    assert row.seeds == 2
    assert row.robust_interval.low < 0.2
    assert row.robust_interval.high > 0.6


def test_verdicts_on_other_images_are_not_paired():
    records = [record("fgsm", query="one"), record("cw", query="one"), record("jsma", query="two")]
    frame = from_records(records)
    assert line(frame, "standard", 5).status == "missing"
    assert [finding.kind for finding in warnings(frame)] == ["unpaired"]


def test_the_run_on_more_images_wins_over_the_quick_one():
    quick = record(result=outcome([[1]], [[1]], [[1]]), limit=1)
    full = record(result=outcome([[1, 0, 0]], [[1, 0, 0]], [[1, 0, 0]]))
    for records in ([quick, full], [full, quick]):
        row = line(from_records(records), "standard", 5)
        assert (row.n, row.robust) == (3, 1 / 3)


def test_seen_attacks_never_enter_the_unseen_numbers():
    right, wrong = ([[value] * 8] for value in (1, 0))
    frame = from_records(
        [
            record("new", family="a", unseen=True, result=outcome(wrong, wrong, wrong)),
            record("old", family="b", unseen=False, result=outcome(right, right, right)),
            record("odd", family="c", unseen=None, result=outcome(right, right, wrong)),
        ]
    )
    found = {scope: line(frame, "standard", 5, scope=scope) for scope in ("unseen", "seen")}
    assert found["unseen"].robust == 0
    assert found["seen"].robust == 1
    assert line(frame, "standard", 5, scope="unknown").static == 1
    assert {row.attacks for row in found.values()} == {1}
    assert all(pd.isna(row.rank) for row in found.values())
    assert line(frame, "standard", 5).attacks == 3


def test_a_hole_of_unknown_status_goes_where_its_family_belongs():
    records = without(matrix(attacks=ATTACKS, shots=(5,), n=40), "pgd_at", "fgsm", 5)
    frame = from_records(records)
    assert line(frame, "pgd_at", 5, scope="seen").status == "missing"
    assert line(frame, "pgd_at", 5, scope="unseen").status == "done"


@pytest.mark.parametrize(("black", "flagged"), [(0.3, True), (0.4975, False), (0.6, False)])
def test_a_gradient_free_attack_that_wins_beyond_chance_is_suspicious(black, flagged):
    def at(share):
        verdicts = np.arange(400)[None] < share * 400
        return outcome(verdicts, verdicts, verdicts)

    records = [record("pgd_linf", result=at(0.5)), record("square", result=at(black))]
    records += [record("cw", result=at(0.9)), record("rotation", result=at(0.1))]
    found = [finding for finding in warnings(from_records(records)) if finding.kind == "masking"]
    assert [("square" in finding.message) for finding in found] == [True] * flagged


def test_adapted_models_are_not_compared_for_masking():
    """Each attack met the model that adapted to it: their difference says nothing of gradients."""
    right, wrong = ([[value] * 100] for value in (1, 0))
    records = [
        record("pgd_linf", result=outcome(right, right, right)),
        record("square", result=outcome(right, wrong, wrong)),
    ]
    assert not warnings(from_records(records))


def test_inflation_and_flags_are_reported():
    stale, held = [[1] * 50], [[1] * 40 + [0] * 10]
    records = [record(result=outcome(held, stale, held), flags=["zero gradient"])]
    records += [record("cw", result=outcome(held, held, held))]
    found = {finding.kind: finding.message for finding in warnings(from_records(records))}
    assert found.keys() == {"inflation", "flag"}
    assert "1 of 2 cells" in found["inflation"]
    assert "20.0 (pgd_linf)" in found["inflation"]
    assert "zero gradient (1 cells" in found["flag"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_harmless_in_markdown(name):
    frame = from_records(
        [
            record(name, name, 0, dataset=name, network=name, family=name, threat=name),
            record(name, name, 5, dataset=name, network=name, family=name, flags=[name]),
            record("b", name, 5, dataset=name, network=name, status="failed", reason=name),
        ]
    )
    page = summary(frame, views(frame))
    assert not re.search(r"<(?!/?b>)[a-z/]", page)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x09\x0b-\x1f]", page)
    assert "x" * 250 not in page
    for table in re.findall(r"(?:^\|.*\n)+", page, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1
    assert all(letter.isprintable() for letter in page if letter != "\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [("pgd_linf", "pgd_linf"), ("pgd[eps=8/255]", r"pgd\[eps=8/255\]"), ("a|b", r"a\|b"),
     ("<b>&", "&lt;b&gt;&amp;"), ("_x_", r"\_x\_"), ("\u202ex", r"\\u202ex")],
)  # fmt: skip
def test_names_stay_readable_in_markdown(name, shown):
    assert markdown(name) == shown


def test_long_names_keep_both_ends():
    shown = visible("begin" + "x" * 300 + "end")
    assert len(shown) == 60
    assert shown.startswith("begin")
    assert shown.endswith("end")


def test_summary_holds_the_numbers_and_marks_holes():
    records = without(matrix(attacks=ATTACKS, shots=(0, 5), n=40), "pgd_at", "pgd_l2", 5)
    records.append(record("pgd_l2", "pgd_at", 5, status="failed", reason="NaN logits"))
    records.append(record("rgb", "pgd_at", 5, status="skipped", reason="needs 3 channels"))
    frame = from_records(records)
    page = summary(frame, views(frame))
    row = line(frame, "meta_adv", 5)
    assert f"**{100 * row.robust:.1f} (" in page
    assert re.search(r"\| incomplete \| pgd_at \|.*\|  \|.*3 of 4 done, 1 failed", page)
    assert re.search(r"\| pgd_l2 \| 1 \| pgd_at \| NaN logits \|", page)
    assert re.search(r"\| rgb \| 1 \| pgd_at \| needs 3 channels \|", page)
    assert "nan" not in page.lower().replace("nan logits", "")


def test_csv_and_parquet_hold_the_frame(tmp_path):
    records = [*matrix(attacks=("fgsm", "jsma"), shots=(0, 5)), record(status="failed", reason="x")]
    frame = from_records(records)
    files = write_tables(frame, views(frame), tmp_path / "new" / "folder")
    for table in (pd.read_csv(files.csv), pd.read_parquet(files.parquet)):
        assert len(table) == len(records)
        assert table["robust"].tolist() == pytest.approx(frame["robust"].tolist(), nan_ok=True)
        lows = [ends[0] if isinstance(ends, tuple) else np.nan for ends in frame["robust_interval"]]
        assert table["robust_low"].tolist() == pytest.approx(lows, nan_ok=True)
        assert "verdicts" not in table
        assert table["n"].isna().sum() == 1
    assert pd.read_parquet(files.parquet)["unseen"].dtype == "boolean"


def test_a_report_is_written_from_a_folder(tmp_path):
    for each in matrix(attacks=("fgsm", "square"), shots=(0, 5), n=40):
        write_record(tmp_path / "results", each)
    (tmp_path / "results" / "records" / "broken.json").write_text("{}")
    files = write_report(tmp_path / "results", tmp_path / "out")
    assert len(files.plots) == 4
    assert len(files.problems) == 1
    written = {files.csv, files.parquet, files.markdown, *files.plots}
    assert set((tmp_path / "out").iterdir()) == written
    first = {path: path.read_bytes() for path in written}
    assert write_report(tmp_path / "results", tmp_path / "out") == files
    assert {path: path.read_bytes() for path in written} == first


def test_hostile_names_do_not_leave_the_output_folder(tmp_path):
    for name in ("../../x", "a/b", "x" * 300, "\u202ex"):
        write_record(tmp_path / "results", record(dataset=name, network=name, shots=0))
    write_report(tmp_path / "results", tmp_path / "deep" / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"results", "deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"out"}
    names = [path.name for path in (tmp_path / "deep" / "out").iterdir()]
    assert len(names) == 3 + 4 * 2
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", name) for name in names)


def test_an_empty_folder_leaves_nothing_behind(tmp_path):
    with pytest.raises(UsageError, match="expected records"):
        write_report(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_place_of_the_output_folder_is_one_clear_line(tmp_path):
    write_record(tmp_path, record())
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match=r"expected a folder .* got the file"):
        write_report(tmp_path, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_output_folder_is_one_clear_line(tmp_path):
    write_record(tmp_path, record())
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="cannot write"):
        write_report(tmp_path, tmp_path / "out")


def printed(records, width):
    console = Console(file=io.StringIO(), width=width)
    print_summary(from_records(records), console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_console_table_fits(width):
    text = printed(matrix(attacks=ATTACKS, n=40, methods=("finetune", "head")), width)
    assert max(map(len, text.splitlines())) <= width
    assert "\u2026" not in text
    row = line(from_records(matrix(attacks=ATTACKS, n=40)), "pgd_at", 0)
    assert f"{100 * row.robust:.1f} (" in text


def test_the_console_marks_holes_and_prints_hostile_names_as_text():
    records = without(matrix(attacks=ATTACKS, shots=(0, 5), n=40), "pgd_at", "pgd_l2", 5)
    records.append(record("[red]x\x1b[0m", "pgd_at", 0, flags=["\x1b]0;title\x07"], query="q0"))
    text = printed(records, 100)
    assert "3/4 cells" in text
    assert "\x1b" not in text
    assert "[red]x" in text


def test_nothing_done_is_still_a_table():
    assert "0/1 cells" in printed([record(status="failed", reason="boom")], 100)
    assert printed([], 100)


def test_synthetic_verdicts_show_what_they_are_made_to_show():
    """The builder itself: accuracies near those asked for, the trained model's fixed."""
    wanted = (0.9, 0.3, 0.6, 0.4)
    many = [
        random_outcome(np.random.default_rng(seed), "m", wanted, 3, 2000) for seed in range(2)
    ]  # fmt: skip
    assert many[0].before == many[1].before
    assert many[0].static != many[1].static
    for name, share in zip(("clean_before", "before", "static", "reattacked"), wanted, strict=True):
        assert getattr(many[0], name).unpack().mean() == pytest.approx(share, abs=0.04)
