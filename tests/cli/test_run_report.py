"""What `run` reports on: the cells that it was asked for, however many others lie there."""

import pandas as pd
import pytest
from report_records import matrix

from benchmark.results import store
from benchmark.results.store import write_record
from reports.summary.files import as_csv
from reports.tidy import frame


@pytest.fixture
def crowded(finished):
    """A folder of one finished cell among 60 that nobody asks for now."""
    for each in matrix(attacks=("fgsm", "square"), shots=(0, 5), seeds=range(5)):
        write_record(finished, each)
    return finished


def test_a_run_reads_and_reports_what_its_plan_names(crowded, run, monkeypatch):
    read = []
    monkeypatch.setattr(
        store, "read_records", lambda root: pytest.fail("all records of the folder were read")
    )
    parse = store.parse_record
    monkeypatch.setattr(
        store, "parse_record", lambda *given: (read.append(given), parse(*given))[1]
    )
    ended = run("--quiet", results=crowded)
    assert ended.code == 0, ended.err
    assert len(read) <= 3
    table = pd.read_csv(crowded / "report" / "results.csv")
    assert table[["defense", "attack"]].to_numpy().tolist() == [["standard[epochs=1]", "fgsm"]]


def test_the_line_says_so_and_report_has_all(crowded, run, command, tmp_path):
    ended = run(results=crowded)
    assert f"of this run; of all records there: python -m benchmark report --results {crowded}" in (
        ended.err
    )
    assert command("report", "--results", crowded, "--out", tmp_path / "all").code == 0
    assert len(pd.read_csv(tmp_path / "all" / "results.csv")) == 61


def test_the_report_is_written_anew_where_the_numbers_are_others(crowded, run):
    page = crowded / "report" / "summary.md"
    assert run("--quiet", results=crowded).code == 0
    page.write_text("mine")
    assert run("--quiet", results=crowded).code == 0
    assert page.read_text() == "mine"
    assert run("--quiet", attacks="uniform_noise", results=crowded).code == 0
    assert "uniform_noise" in page.read_text()
    page.write_text("mine")
    assert run("--quiet", results=crowded).code == 0
    assert "fgsm" in page.read_text()


def test_a_folder_may_be_named_by_a_string(crowded):
    loaded = frame.load(str(crowded))
    assert as_csv(loaded) == as_csv(frame.load(crowded))
    assert len(loaded) == 61
