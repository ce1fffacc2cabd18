"""`check` as its user meets it: exit codes, what is printed, what is written, what is refused."""

import json
import re
from xml.etree import ElementTree

import pytest
from gate_records import CELL, TRAINED, adapted, base, folder, unadapted, worsened
from report_records import HOSTILE, outcome, record

from benchmark.core.store import record_path
from reports.baseline import read_baseline


@pytest.fixture
def check(command, tmp_path, monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

    def call(*words, baseline=tmp_path / "baseline.json"):
        return command("check", "--baseline", baseline, *words)

    return call


@pytest.fixture
def good(tmp_path):
    """Two cells of one model, one of them adapted in three episodes."""
    return folder(tmp_path / "good", [unadapted(base()), adapted(base(episodes=3))])


@pytest.fixture
def bad(tmp_path):
    """The same, the unadapted cell three points worse."""
    worse = unadapted(worsened(base(), lost=40, won=10))
    return folder(tmp_path / "bad", [worse, adapted(base(episodes=3))])


@pytest.fixture
def baseline(check, good, tmp_path):
    """Written from `good`; afterwards the same to the byte."""
    assert check("--update", "--results", good).code == 0
    path = tmp_path / "baseline.json"
    before = path.read_bytes()
    yield path
    assert path.read_bytes() == before
    assert not list(tmp_path.rglob("*.tmp"))


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
    clean = worsened(base(accuracy=1.1), lost=20)
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


# Bad input: one line, exit code 2, nothing overwritten.


def test_without_a_baseline(check, good, tmp_path, command):
    check("--results", good).refused("no baseline at", "check --update")
    command("check", "--results", good).refused("expected --baseline FILE")


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: text.replace('"schema_version": 1', '"schema_version": 2'),
        lambda text: text.replace('"bits": "', '"bits": "AAAA'),
        lambda text: text.replace('"robust": 58.1', '"robust": 10.0', 1),
        lambda text: text.replace('"floors": {}', '"floors": {"*": NaN}'),
        lambda text: text.replace('"floors": {}', '"floors": {"nothing*": 10}'),
        lambda text: text.replace('"floors": {}', '"fl\\u202e\\u001b[31m|oors": {}'),
        lambda text: "[" * 100_000,
    ],
    ids=["half", "empty", "list", "newer", "bits", "edited", "nan", "floor", "key", "deep"],
)
def test_a_damaged_baseline(check, baseline, good, tmp_path, damage):
    path = tmp_path / "damaged.json"
    path.write_text(damage(baseline.read_text()))
    before = path.read_bytes()
    ended = check("--results", good, baseline=path)
    ended.refused()
    assert ended.line.isprintable()
    if b"nothing*" not in before:  # a floor may be over a cell that is still to come
        check("--update", "--results", good, baseline=path).refused()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[:400], "not a readable record"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "upgrade"),
        (lambda text: text.replace('"n": 1000', '"n": 1001'), "not a valid record"),
    ],
)
def test_a_damaged_record(check, baseline, good, damage, said):
    path = record_path(good, unadapted(base()).cell)
    path.write_text(damage(path.read_text()))
    check("--results", good).refused(said, str(path))
    check("--update", "--results", good).refused(said)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(check, command, tmp_path, name):
    records = [unadapted(table, name, defense=name, dataset=name, flags=[name])
               for table in (base(), worsened(base(), 40, 10))]  # fmt: skip
    before, after = (folder(tmp_path / str(i), [one]) for i, one in enumerate(records))
    path, xml, page = tmp_path / "b.json", tmp_path / "x.xml", tmp_path / "page.md"
    assert check("--update", "--results", before, baseline=path).code == 0
    content = path.read_text()
    assert content.isascii()
    path.write_text(content.replace(f'"flags": [{json.dumps(name)}]', '"flags": []'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_STEP_SUMMARY", str(page))
        words = ("--github", "--junit", xml)
        ended = check("--results", after, *words, baseline=path)
    assert ended.code == 1
    assert all(line.isprintable() for line in ended.out.splitlines())
    (line,) = [line for line in ended.out.splitlines() if line.startswith("::")]
    assert line.count("::") == 2 + 2 * name.count("::")
    assert len(line) < 900
    assert len(ElementTree.parse(xml).getroot().find("testsuite")) == 2
    text = page.read_text()
    assert "<script" not in text
    assert "\u202e" not in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in table} == {8}
    assert not {path.name for path in tmp_path.parent.iterdir()} & {"x", "..-..-x"}


def test_two_machines_that_disagree(check, baseline, good):
    path = record_path(good, unadapted(base()).cell)
    copy = path.with_name("machine-b.json")
    copy.write_text(path.read_text())
    assert check("--results", good).code == 0, "the same twice is no contradiction"
    other = unadapted(worsened(base(), 1)).model_dump_json()
    copy.write_text(other)
    check("--results", good).refused("two records of", CELL, "different verdicts")
    check("--update", "--results", good).refused("two records of")


def test_a_quick_run_beside_a_full_one_is_no_contradiction(check, baseline, good):
    quick = unadapted(worsened(base(), 30)[:, :100], limit=100)
    folder(good, [quick])
    assert check("--results", good).code == 0


def test_mixed_data_sets(check, baseline, good, tmp_path):
    folder(good, [unadapted(base(), dataset="mnist", query="m0")])
    ended = check("--results", good)
    assert ended.code == 0
    assert "2 new" in ended.out, "a cell of another data set is another cell"
    path = record_path(good, unadapted(base()).cell)
    path.with_name("other.json").write_text(unadapted(base(), query="q1").model_dump_json())
    check("--results", good).refused("different data")


def test_another_split_of_the_data(check, baseline, tmp_path):
    other = [unadapted(base(), query="q1"), adapted(base(episodes=3), query="q1")]
    ended = check("--results", folder(tmp_path / "other", other))
    ended.refused("3 of 3 cells are not of the same images", "data q0", "data q1")


def test_fewer_images(check, baseline, tmp_path):
    few = [unadapted(base(100)), adapted(base(100, episodes=3))]
    ended = check("--results", folder(tmp_path / "few", few))
    ended.refused("1000 images x 1 episodes", "100 images x 1 episodes")


def test_an_empty_folder(check, baseline, tmp_path):
    (tmp_path / "empty").mkdir()
    check("--results", tmp_path / "empty").refused("expected records below")
    check("--results", tmp_path / "nowhere").refused("expected records below")
    failed = folder(tmp_path / "failed", [record(status="failed", reason="crashed")])
    check("--results", failed).refused("no cell below", "is done")


@pytest.mark.parametrize("flag", ["tolerance", "alpha", "perf-tolerance"])
@pytest.mark.parametrize("value", ["-1", "100", "nan", "inf"])
def test_rules_out_of_range(check, baseline, good, flag, value):
    check("--results", good, f"--{flag}", value).refused(f"--{flag}: expected at least 0")


def test_what_cannot_be_written(check, baseline, good):
    inside_a_file = baseline / "x"
    ended = check("--results", good, "--junit", inside_a_file)
    assert ended.code == 2
    assert "cannot write" in ended.line
    check("--update", "--results", good, baseline=inside_a_file).refused("cannot write")
