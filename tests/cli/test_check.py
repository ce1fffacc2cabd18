"""`check` as its user meets it: exit codes, what is printed, what is written."""

import json
import re
from xml.etree import ElementTree

import numpy as np
from gate_records import CELL, TRAINED, adapted, base, folder, unadapted, worsened
from report_records import outcome, record

from reports.gate.baseline import read_baseline

# Exit codes.


def test_nothing_changed(check, baseline, good):
    ended = check("--results", good)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "3 unchanged of 3", "two cells and the clean one"


def test_three_points_less_are_red(check, baseline, bad):
    ended = check("--results", bad)
    assert ended.code == 1
    assert f"{CELL}: " in ended.out
    assert ended.out.splitlines()[-1] == "1 REGRESSED, 2 unchanged of 3"
    assert check("--results", bad, "--tolerance", 3).code == 0


def test_more_is_better(check, bad, good, tmp_path):
    assert check("--update", "--results", bad, baseline=tmp_path / "worse.json").code == 0
    ended = check("--results", good, "--github", baseline=tmp_path / "worse.json")
    assert ended.code == 0
    assert "improved" in ended.out
    assert "::notice title=Robustness improved::" in ended.out


def test_clean_accuracy_is_gated_too(check, baseline, tmp_path):
    clean = base(accuracy=1.1)
    clean[0, np.flatnonzero(~base()[0])[:20]] = False  # none of which is robust
    worse = [unadapted(base(), clean=clean), adapted(base(episodes=3), clean=clean)]
    ended = check("--results", folder(tmp_path / "unclean", worse))
    assert ended.code == 1
    assert f"{TRAINED}/clean: 100.0 -> 98.0 %" in ended.out


def test_a_missing_cell_is_said_and_is_no_success(check, baseline, tmp_path):
    ended = check("--results", folder(tmp_path / "half", [unadapted(base())]))
    assert ended.code == 2
    assert "1 of 3 cells are missing" in ended.line
    assert "MISSING" in ended.out


def test_a_failed_cell_is_missing(check, baseline, tmp_path):
    failed = record("pgd_linf", shots=0, status="failed", reason="crashed")
    assert check("--results", folder(tmp_path / "f", [failed, adapted(base(episodes=3))])).code == 2


def test_cells_scored_on_validation_images_are_no_cells(check, baseline, good):
    one = unadapted(base(accuracy=0.1))
    tuned = one.model_copy(update={"cell": one.cell.model_copy(update={"split": "validation"})})
    folder(good, [tuned])
    assert check("--results", good).out.splitlines()[-1] == "3 unchanged of 3"


def test_static_examples_do_not_hide_what_a_new_attack_breaks(check, baseline, tmp_path):
    """Gated is robust@K: 40 images fall to the new attack alone, 40 to the stored one alone."""
    table = base(episodes=3)
    lost = worsened(table, lost=40)
    for name, pair in {"new": (table, lost), "stored": (lost, table)}.items():
        found = outcome(table[:1], *pair)
        one = record("pgd_linf", shots=5, result=found)
        results = folder(tmp_path / name, [unadapted(base()), one])
        ended = check("--results", results)
        assert ended.code == 1
        assert "k05-finetune-captured-t10-lr0: 58.1 -> 54.1 %" in ended.out


# What is written.


def test_a_baseline_is_small_sorted_and_the_same_twice(check, baseline, good, tmp_path):
    lines = baseline.read_text().splitlines()
    cells = [line for line in lines if line.startswith('  "digits/')]
    assert len(cells) == 3
    assert cells == sorted(cells)
    assert '"n": 1000' in cells[0]
    assert '"query": "q0"' in cells[0]
    assert check("--update", "--results", good, baseline=tmp_path / "b").code == 0
    assert (tmp_path / "b").read_bytes() == baseline.read_bytes()


def test_updates_keep_floors_and_say_what_is_no_longer_gated(check, good, tmp_path):
    path = tmp_path / "floors.json"
    check("--update", "--results", good, baseline=path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"floors": {"*": 10.0}}))
    fewer = folder(tmp_path / "fewer", [unadapted(base())])
    ended = check("--update", "--results", fewer, baseline=path)
    assert ended.code == 0
    assert ended.out.startswith("no longer gated: digits/small_cnn/standard/s0/pgd_linf/k05")
    assert read_baseline(path).floors == {"*": 10.0}
    assert len(read_baseline(path).cells) == 2
    assert check("--results", fewer, baseline=path).code == 0


def test_junit_has_a_case_for_each_cell(check, baseline, bad, tmp_path):
    check("--results", bad, "--junit", tmp_path / "gate.xml")
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    (failed,) = [case for case in suite if case.find("failure") is not None]
    assert failed.get("name") == CELL
    assert "-3.0 points" in failed.find("failure").get("message")


def test_github_gets_annotations_and_a_summary(check, baseline, bad, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    assert "::error" not in check("--results", bad).out
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    (line,) = [line for line in check("--results", bad).out.splitlines() if line[:2] == "::"]
    assert line.startswith(f"::error title=Robustness REGRESSED::{CELL}: 58.1 -> 55.1 %25: -3.0")
    page = summary.read_text()
    assert page.startswith("before\n## Robust accuracy: red\n")
    assert re.search(r"\| -3\.0 \(-4\.\d to -1\.\d\) \| 40 / 10 \|", page), "3 +- 1.96 x 0.70"


def test_the_table_of_power_needs_no_baseline(command, monkeypatch):
    monkeypatch.setattr("reports.gate.power.IMAGES", (100, 1000))
    ended = command("check", "--power", "--tolerance", 2)
    assert (ended.code, ended.err) == (0, "")
    (row,) = [line.split() for line in ended.out.splitlines() if " 1 " in line and " 5 %  " in line
              and "1,000" in line]  # fmt: skip
    none, _, two, three, five = map(float, row[4:])
    assert none <= 1
    assert two < 60 < 85 < three < five <= 100
    assert "tolerance 2 points" in ended.out
