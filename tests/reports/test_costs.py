"""What training took, in tables, and the filter that keeps equal budgets."""

from __future__ import annotations

import io

import pandas as pd
import pytest
from report_records import outcome, record
from rich.console import Console

from benchmark.core.errors import UsageError
from benchmark.core.schema import Effort
from benchmark.results.records import Record
from benchmark.results.store import write_record
from reports.summary.console import print_summary
from reports.summary.page import summary
from reports.summary.write import write_report
from reports.tidy.aggregate import views
from reports.tidy.frame import from_records
from reports.tidy.training_cost import COSTS, equal_training, training_costs

PASSES = {"pgd_at": 1000, "trades": 1100, "free": 899, "standard": 100, "checkpoint": None}


def trained(defense, passes, seed=0, **where):
    """A record whose training took so many passes, three forward for each one backward."""
    cost = None
    if passes is not None:
        forwards = 3 * passes // 4
        cost = Effort(
            seconds=2.5, forwards=forwards, backwards=passes - forwards, images=50, updates=7
        )
    return record("fgsm", defense, 0, seed=seed, **where).model_copy(update={"training": cost})


def frame_of(passes, **where):
    return from_records([trained(*item, **where) for item in passes.items()])


def defenses(frame):
    return set(frame["defense"])


def test_forwards_and_backwards_make_the_passes():
    row = frame_of({"pgd_at": 1001}).iloc[0]
    assert [row[name] for name in COSTS] == [1001, 50, 7, 2.5]


def test_a_cost_nobody_knows_is_empty_and_never_zero():
    frame = frame_of({"checkpoint": None, "given": 0})
    assert frame["training_passes"].isna().tolist() == [True, False]
    assert training_costs(frame)["training_passes"].isna().tolist() == [True, False]


def test_adaptation_is_the_mean_over_episodes():
    result = outcome([[1]], [[1], [1]], [[1], [1]]).model_copy(
        update={
            "adaptation": [
                Effort(forwards=10, backwards=8, images=5),
                Effort(forwards=10, backwards=10, images=6),
            ]
        }
    )
    old, new = from_records([record(), record(result=result)]).to_dict("records")
    assert (new["adaptation_passes"], new["adaptation_images"]) == (19, 5.5)
    assert pd.isna(old["adaptation_passes"])


def test_costs_are_the_mean_over_seeds_each_counted_once():
    records = [trained("pgd_at", 100), trained("pgd_at", 100), trained("pgd_at", 160, seed=1)]
    costs = training_costs(from_records(records))
    assert costs["training_passes"].tolist() == [130]


@pytest.mark.parametrize(
    ("reference", "kept"),
    [
        ("pgd_at", {"pgd_at", "trades"}),
        ("pgd_at:10%", {"pgd_at", "trades"}),
        ("pgd_at:9.9%", {"pgd_at"}),
        ("pgd_at:10.1%", {"pgd_at", "trades", "free"}),
        ("standard:900%", {"pgd_at", "free", "standard"}),
        ("trades:0%", {"trades"}),
    ],
)
def test_only_defenses_within_the_tolerance_of_the_reference_stay(reference, kept):
    equal = equal_training(frame_of(PASSES), reference)
    assert defenses(equal.frame) == kept
    assert len(equal.left_out) == len(PASSES) - len(kept)


def test_who_is_left_out_is_said_and_why():
    found = "\n".join(equal_training(frame_of(PASSES), "pgd_at").left_out)
    assert "left out: standard on digits, small_cnn: 100 training passes, pgd_at has 1,000" in found
    assert "checkpoint on digits, small_cnn: its training cost is not known" in found
    assert "trades" not in found


def test_each_data_set_has_its_own_reference():
    small = {"pgd_at": 100, "trades": 1000}
    frame = pd.concat([frame_of(PASSES), frame_of(small, dataset="mnist")], ignore_index=True)
    kept = equal_training(frame, "pgd_at").frame
    assert defenses(kept[kept["dataset"] == "digits"]) == {"pgd_at", "trades"}
    assert defenses(kept[kept["dataset"] == "mnist"]) == {"pgd_at"}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pgd", "did you mean pgd_at"),
        ("pgd_at:much%", "expected a tolerance such as 10%"),
        ("pgd_at:-5%", "expected a tolerance"),
        ("checkpoint", "its training passes are not known"),
    ],
)
def test_a_reference_that_is_none_is_refused(reference, message):
    with pytest.raises(UsageError, match=message):
        equal_training(frame_of(PASSES), reference)


def test_brackets_and_colons_may_be_part_of_the_reference():
    frame = frame_of({"mine.py:Net[start=a:b]": 10, "pgd_at": 10})
    for reference in ("mine.py:Net[start=a:b]", "mine.py:Net[start=a:b]:5%"):
        assert len(defenses(equal_training(frame, reference).frame)) == 2


def test_the_report_shows_who_is_comparable_and_says_who_is_not(tmp_path):
    for defense, passes in PASSES.items():
        write_record(tmp_path, trained(defense, passes))
    files = write_report(tmp_path, tmp_path / "report", "pgd_at")
    assert defenses(pd.read_csv(files.csv)) == {"pgd_at", "trades"}
    text = files.markdown.read_text("utf-8")
    assert "- left out: standard on digits" in text
    assert sum("left out" in line for line in files.problems) == 3
    whole = write_report(tmp_path, tmp_path / "whole")
    assert defenses(pd.read_csv(whole.csv)) == set(PASSES)
    assert whole.problems == []


def test_the_command_takes_the_filter(tmp_path, command):
    for defense, passes in PASSES.items():
        write_record(tmp_path, trained(defense, passes))
    words = ["report", "--results", tmp_path, "--out", tmp_path / "out", "--equal-training"]
    done = command(*words, "pgd_at:5%")
    assert done.code == 0
    assert "left out: trades" in done.err
    command(*words, "nobody").refused("unknown defense in --equal-training 'nobody'")


def test_people_see_the_cost():
    frame = frame_of(PASSES | {"pgd_at": 680_400})
    page = summary(frame, views(frame))
    assert "| digits | small_cnn | pgd_at | 680,400 | 50 | 7 | 2 |" in page
    costs = page.partition("## Training cost")[2].partition("\n## ")[0]
    assert "| checkpoint |" not in costs
    text = io.StringIO()
    print_summary(frame, Console(file=text, width=200))
    assert "680k" in text.getvalue()
    assert "training" in text.getvalue()


def test_a_record_without_costs_still_reads():
    old = record().model_dump(mode="json")
    for field in ("training", "probes"):
        del old[field]
    del old["outcome"]["adaptation"]
    read = Record.model_validate(old)
    assert (read.training, read.probes, read.outcome.adaptation) == (None, {}, [])


def test_efforts_add_up():
    one = Effort(seconds=1, forwards=2, backwards=3, images=4, updates=5)
    other = Effort(seconds=10, forwards=20, backwards=30, images=40, updates=50)
    total = one + other
    assert total == Effort(seconds=11, forwards=22, backwards=33, images=44, updates=55)
    assert total.passes == 55
