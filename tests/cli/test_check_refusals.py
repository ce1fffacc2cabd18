"""`check` on bad input: one line, exit code 2, nothing overwritten; and on hostile names."""

import json
from xml.etree import ElementTree

import pytest
from gate_records import CELL, adapted, base, folder, unadapted, worsened
from report_records import HOSTILE, record, text_of

from benchmark.results.sealing import seal
from benchmark.results.store import record_path


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
        (lambda text: text.replace('"schema_version": 3', '"schema_version": 4'), "upgrade"),
        (lambda text: text.replace('"n": 1000', '"n": 1001'), "not what was written"),
    ],
)
def test_a_damaged_record(check, baseline, good, damage, said):
    path = record_path(good, unadapted(base()).cell)
    path.write_text(damage(path.read_text()))
    check("--results", good).refused(said, str(path))
    check("--update", "--results", good).refused(said)


def test_a_record_with_a_hostile_key(check, baseline, good):
    path = record_path(good, unadapted(base()).cell)
    content = json.loads(path.read_text()) | {"\x1b[31m\u202e%\n::error::": 1}
    path.write_text(json.dumps(seal(content)))
    check("--results", good).refused("not a valid record")
    ended = check("--results", good, "--github")
    assert ended.code == 2
    for line in (ended.line, ended.out.removesuffix("\n")):
        assert line.isprintable()
    assert ended.out.startswith("::error title=Robustness not checked::")
    assert "\\u001b[31m\\u202e%25\\u000a::error" in ended.out


COMMANDS = ["::error title=x::y", "%0A::error::x", "a\n::set-output name=x::y", '"]]>&amp;<x y="']
"""What a workflow of GitHub and XML would take for their own."""


@pytest.mark.parametrize("name", HOSTILE + COMMANDS)
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
    assert line.startswith("::error title=Robustness REGRESSED::"), "all that follows is text"
    assert "%0A" not in line
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
    other = text_of(unadapted(worsened(base(), 1)))
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
    path.with_name("other.json").write_text(text_of(unadapted(base(), query="q1")))
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
