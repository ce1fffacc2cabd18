"""Hostile text in each field of a record, an audit or a refusal that a leaderboard shows."""

from __future__ import annotations

import pytest
from harmless import harmless
from planted_audits import audit_of
from report_records import folder, outcome, record

from benchmark.core.schema import About
from benchmark.results.audits import audit_path, write_audit
from benchmark.results.flags import Flag
from reports.archive.reference import write_file
from reports.leaderboard.write import Claims, write_leaderboard

OUTCOME = outcome([[1, 0, 0]], [[1, 1, 0]], [[0, 1, 0]])
NASTY = {
    "markup": "'\"></td></script><script>alert(1)</script><img src=x onerror=y> | [x](y) `z`",
    "formula": "=cmd|' /C calc'!A0",
    "tex": "\\input{x} 100% & $x$ #1 ~ ^ _ \u202egnp.exe \u4e2d",
}


def cell(**changes):
    return lambda one: one.model_copy(update={"cell": one.cell.model_copy(update=changes)})


def provenance(**changes):
    return lambda one: one.model_copy(
        update={"provenance": one.provenance.model_copy(update=changes)}
    )


def about(**changes):
    return provenance(about=About(**changes))


FIELDS = {
    "dataset": lambda text: cell(dataset=text),
    "network": lambda text: cell(network=text),
    "defense": lambda text: cell(defense=text),
    "attack": lambda text: cell(attack=text),
    "family": lambda text: lambda one: one.model_copy(update={"family": text}),
    "threat": lambda text: lambda one: one.model_copy(update={"threat": text}),
    "norm": lambda text: lambda one: one.model_copy(update={"norm": text}),
    "trained on": lambda text: lambda one: one.model_copy(update={"trained_on": [text]}),
    "flags": lambda text: lambda one: one.model_copy(update={"flags": [text]}),
    "weights": lambda text: lambda one: one.model_copy(
        update={"fingerprint": {**one.fingerprint, "weights": text}}
    ),
    "command": lambda text: provenance(command=text),
    "commit": lambda text: provenance(commit=text),
    "device": lambda text: provenance(device=text),
    "created": lambda text: provenance(created=text),
    "versions": lambda text: provenance(versions={"torch": text}),
    "defense options": lambda text: provenance(defense_options={text: text}),
    "adaptation": lambda text: provenance(adaptation={"shots": text}),
    "title": lambda text: about(title=text),
    "label": lambda text: about(label=text),
    "authors": lambda text: about(authors=f"{text}, B"),
    "paper": lambda text: about(paper=text, link="https://example.org"),
    "link": lambda text: about(link=text),
    "summary": lambda text: about(summary=text),
}  # fmt: skip


def pages(place, out, **more):
    return [path.read_text() for path in write_leaderboard([place], out, **more)[:4]]


def both(tmp_path, text, make):
    """The files with this text, and the page with a word in its place."""
    shown = make(tmp_path / "hostile", text)
    return shown, make(tmp_path / "benign", "word")[0]


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_a_record_is_text_wherever_it_is_shown(tmp_path, field, text):
    def make(place, said):
        change = FIELDS[field](said)
        records = [change(record("fgsm", "a", k, OUTCOME)) for k in (0, 5)]
        return pages(folder(place / "r", records), place / "o")

    harmless(*both(tmp_path, text, make))


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_why_a_cell_failed_is_text(tmp_path, text):
    def make(place, said):
        records = [record("fgsm", "a", 0, OUTCOME)]
        records.append(record(said, "a", 0, status="failed", reason=said))
        return pages(folder(place / "r", records), place / "o")

    harmless(*both(tmp_path, text, make))


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_what_an_audit_says_is_text(tmp_path, text):
    def make(place, said):
        one = record("fgsm", "a", 0, OUTCOME)
        results = folder(place / "r", [one])
        audit = audit_of(one, Flag(code="randomised", message=said), device=said)
        write_audit(audit_path(results, one.cell, audit.images), audit)
        return pages(results, place / "o")

    harmless(*both(tmp_path, text, make))


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_why_a_submission_is_refused_and_what_its_file_is_called_is_text(tmp_path, text):
    def make(place, said):
        place.mkdir()
        name = said.replace("/", ":")  # no file is called with one
        path = write_file([record("fgsm", "a", 0, OUTCOME)], place / f"{name}.records.gz")
        refused = {("digits", "small_cnn", "a"): f"{said}: {said}"}
        return pages(path, place / "o", claims=Claims(refused=refused))

    harmless(*both(tmp_path, text, make))


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_a_tie_with_a_row_of_another_network_is_text(tmp_path, text):
    def make(place, said):
        records = [
            record("fgsm", said, 0, OUTCOME, network=network) for network in (said, "small_cnn")
        ]  # fmt: skip
        return pages(folder(place / "r", records), place / "o")

    harmless(*both(tmp_path, text, make))
