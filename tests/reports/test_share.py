"""Results in the forms of other places, whatever their names hold."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from markdown_it import MarkdownIt
from report_records import HOSTILE, matrix, record, without
from submission_fixtures import MODEL

from benchmark.results.records import Record
from reports.summary.hub import eval_results, model_card
from reports.summary.share import Sample, samples, write_shared
from reports.tidy.frame import from_records

ATTACKS = {"fgsm": "", "square": ""}


def small(**more):
    return matrix(defenses=("pgd_at",), attacks=ATTACKS, shots=(0, 5), n=20, episodes=2, **more)


def test_values_are_those_of_the_records_and_holes_have_none():
    records = without(small(dataset="mnist"), "pgd_at", "square", 5)
    failed = record("square", "pgd_at", 5, status="failed", reason="boom", dataset="mnist")
    frame = from_records([*records, failed])
    entries = json.loads(eval_results(frame))
    values = {entry["dataset"]["task_id"]: entry["value"] for entry in entries}
    assert values.keys() == {"fgsm, K=0", "square, K=0", "fgsm, K=5"}
    assert {entry["dataset"]["id"] for entry in entries} == {"ylecun/mnist"}
    fgsm = frame[(frame["attack"] == "fgsm") & (frame["shots"] == 5)].iloc[0]
    assert values["fgsm, K=5"] == pytest.approx(100 * fgsm["robust"], abs=0.005)
    assert any("n = 20, episodes = 2" in entry["notes"] for entry in entries)
    card = model_card(frame)
    assert re.search(r"\| square \| .* \| 5 \|  \|  \| failed \|", card), card


@pytest.mark.extra
def test_the_hub_reads_every_entry_and_no_task_twice():
    """By the parser of its own client, with fields that it knows and no others."""
    hub = pytest.importorskip("huggingface_hub")
    if not hasattr(hub, "parse_eval_result_entries"):
        pytest.skip("a huggingface_hub of before .eval_results")
    ours = small(methods=("finetune", "head"))
    other = [
        one.model_copy(update={"cell": one.cell.model_copy(update={"network": "other"})})
        for one in ours
    ]
    frame = from_records([*ours, *other])
    found = json.loads(eval_results(frame))
    entries = hub.parse_eval_result_entries(found)
    assert hub.eval_result_entries_to_yaml(entries) == found
    tasks = [entry.task_id for entry in entries]
    assert len(set(tasks)) == len(tasks) == 2 * 2 * 3
    assert "fgsm, K=5, small_cnn, head, captured" in tasks
    assert "fgsm, K=5" not in tasks
    assert "| head, captured |" in model_card(frame)


@pytest.mark.parametrize("name", [*HOSTILE, "- a: !!python/name:os.system", "&a *a", "{{ 7*7 }}"])
def test_hostile_names_are_text_in_yaml_and_markdown(name):
    yaml = pytest.importorskip("yaml")
    more = {"dataset": name, "network": name, "family": name, "threat": name}
    frame = from_records([record(name, name, 0, flags=[name], **more)])
    text = eval_results(frame)
    assert text.isascii() and yaml.safe_load(text) == json.loads(text)
    (entry,) = yaml.safe_load(text)
    assert entry["dataset"]["task_id"] == f"{frame['attack'][0]}, K=0"
    html = MarkdownIt("commonmark").enable("table").render(model_card(frame))
    assert html.count("<table>") == 1 and html.count("<tr>") == 2
    for tag in ("<script", "<a ", "<code", "<strong", "<em"):
        assert tag not in html, html
    assert "\x1b" not in html and "\u202e" not in html


def test_hostile_names_stay_in_the_folder(tmp_path):
    frame = from_records([record(attack="fgsm", defense=name, shots=0) for name in HOSTILE])
    written = write_shared(frame, tmp_path / "deep" / "out", lambda dataset: {})
    assert len(set(written)) == 3 * len(HOSTILE)
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert all(path.resolve().is_relative_to(tmp_path / "deep" / "out") for path in written)


def test_every_image_has_a_sample_that_keeps_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    frame = from_records(small())
    labels = list(range(30))
    found = [*samples(frame, {frame["query"][0]: labels}, {})]
    assert len(found) == 2 * (20 + 2 * 20)
    for sample in found:
        jsonschema.validate(json.loads(sample.model_dump_json()), Sample.model_json_schema())
        assert sample.verdict != "robust" or sample.right_before
        assert sample.label in (sample.id, None)
    cell = frame[(frame["attack"] == "fgsm") & (frame["shots"] == 5)].iloc[0]
    mine = [s for s in found if s.attack == "fgsm" and s.shots == 5]
    assert sum(s.right_after for s in mine) / len(mine) == pytest.approx(cell["robust"])
    assert sum(s.right_before for s in mine) / len(mine) == pytest.approx(cell["clean"])


def test_a_record_keeps_the_schema_that_is_printed(command):
    jsonschema = pytest.importorskip("jsonschema")
    ended = command("share --schema")
    schemas = json.loads(ended.out)
    assert ended.code == 0 and schemas.keys() == {"record", "sample"}
    assert schemas["record"] == Record.model_json_schema()
    for each in small():
        jsonschema.validate(json.loads(each.model_dump_json()), schemas["record"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"cell": {}}, schemas["record"])


def test_the_command_writes_them_with_labels(command, finished, tmp_path):
    ended = command("share", "--results", finished, "--out", tmp_path / "share")
    assert ended.code == 0 and len(ended.out.splitlines()) == 3
    (path,) = (tmp_path / "share").glob("*/samples.jsonl")
    read = [Sample.model_validate_json(line) for line in path.read_text().splitlines()]
    assert len(read) == 20 and all(sample.label in range(10) for sample in read)
    assert [*(tmp_path / "share").glob("*/.eval_results/reattack.yaml")]
    assert {sample.prediction_before for sample in read} == {None}
    command("share", "--results", tmp_path / "none", "--out", tmp_path / "o").refused(
        "expected records"
    )


@pytest.fixture
def asked(command, handed_in, tmp_path):
    """The samples of real records, K of 0 and 1, that say what the model says."""

    def call(model, cached=True):
        results = shutil.copytree(handed_in.parent / "r", tmp_path / "r")
        if not cached:
            shutil.rmtree(results / "cache")
        words = ["--results", results, "--model", model, "--out", tmp_path / "share"]
        ended = command("share", *words)
        texts = [path.read_text() for path in (tmp_path / "share").glob("*/samples.jsonl")]
        return ended, [
            Sample.model_validate_json(line) for text in texts for line in text.splitlines()
        ]

    return call


def test_the_model_at_hand_says_its_classes(asked):
    ended, found = asked(MODEL)
    assert ended.code == 0, ended.err
    plain = [sample for sample in found if not sample.shots]
    assert len(plain) == 4 * 60
    for sample in plain:
        assert sample.right_before == (sample.prediction_before == sample.label)
        stands = sample.right_before and sample.prediction_after == sample.label
        assert sample.right_after == stands
    assert {s.prediction_before for s in found if s.shots} == {None}, "it adapted, and is gone"


def test_without_examples_there_is_no_class_under_the_attack(asked):
    _, found = asked(MODEL, cached=False)
    plain = [sample for sample in found if not sample.shots]
    assert {sample.prediction_after for sample in plain} == {None}
    assert None not in {sample.prediction_before for sample in plain}


def test_another_model_is_one_clear_line(asked):
    ended, found = asked("standard[epochs=2]")
    ended.refused("standard[epochs=2]", "no record of these weights")
    assert not found
