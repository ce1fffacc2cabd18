"""The pages made of records: names that cannot harm, files, the console."""

from __future__ import annotations

import io
import os
import re

import numpy as np
import pandas as pd
import pytest
from report_records import ATTACKS, HOSTILE, line, matrix, random_outcome, record, without
from rich.console import Console

from benchmark.core.errors import UsageError
from benchmark.results.store import write_record
from reports.summary.console import print_summary
from reports.summary.files import write_tables
from reports.summary.page import summary
from reports.summary.write import write_report
from reports.tidy.aggregate import views
from reports.tidy.escape import markdown, visible
from reports.tidy.frame import from_records


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
    assert len(files.plots) == 8  # three and the column for a paper, each twice
    assert len(files.problems) == 1
    written = {files.csv, files.parquet, files.markdown, *files.further, *files.plots}
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
    assert len(names) == 4 + 4 * 4
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
