"""What is made of audits: the page, the board's column, the report, the gate, files to send."""

import csv
import json
import re

import pytest
from gate_records import CELL, adapted, base, folder, unadapted
from planted_audits import RANDOM, ZERO, audit_of, keep, rich_audit
from report_records import HOSTILE, matrix, record

from benchmark.results.audits import Checked
from benchmark.results.flags import KINDS, Flag
from reports.archive.audited import audits_of, matched, told
from reports.audit.console import lines
from reports.audit.page import page
from reports.leaderboard.write import write_leaderboard
from reports.summary.write import write_report
from reports.tidy.frame import audits, from_records

SMALL = {"attacks": ("fgsm", "pgd_l2"), "shots": (0, 5), "n": 40}


def rows_of(out):
    with (out / "leaderboard.csv").open(newline="") as file:
        return {row["defense"]: row["audit"] for row in csv.DictReader(file)}


@pytest.fixture
def results(tmp_path):
    """Three defenses: one broken, one sound, one whose audit is of other weights."""
    records = matrix(**SMALL)
    first = {one.cell.defense: one for one in reversed(records)}
    root = folder(tmp_path / "results", records)
    keep(root, first["standard"], audit_of(first["standard"], ZERO, RANDOM))
    keep(root, first["pgd_at"], audit_of(first["pgd_at"]))
    keep(root, first["meta_adv"], audit_of(first["meta_adv"], weights="others"))
    return root


def test_the_board_shows_the_audit_of_these_weights_alone(results, tmp_path):
    write_leaderboard([results], tmp_path / "out")
    said = {
        "standard": "broken (zero gradients, randomised)", "pgd_at": "sound",
        "meta_adv": "not audited",
    }  # fmt: skip
    assert rows_of(tmp_path / "out") == said
    rows = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["rows"]
    assert {row["defense"]: row["audit"] for row in rows} == said
    for kind in ("md", "tex"):
        text = (tmp_path / "out" / f"leaderboard.{kind}").read_text()
        assert all(verdict in text for verdict in said.values()), kind
    html = (tmp_path / "out" / "leaderboard.html").read_text()
    assert re.search(r'<td class="audit"[^>]*>\s*<span class="num">broken</span>', html)
    assert "zero gradients, randomised" in html and "not audited" in html


def test_flags_of_an_audit_are_flags_of_its_records(results):
    from reports.tidy.frame import load

    frame = load(results)
    flags = {name: [*part["flags"]] for name, part in frame.groupby("defense")}
    assert all(str(ZERO) in found for found in flags["standard"])
    assert not any(map(any, flags["pgd_at"])) and not any(map(any, flags["meta_adv"]))
    assert {x[2]: x[3] for x in audits(frame)}["meta_adv"] == "not audited"


def test_a_code_that_a_record_has_is_not_there_twice():
    one = record(flags=["randomised: said by the record"])
    frame = from_records([one], audits=[audit_of(one, RANDOM, ZERO)])
    assert frame["flags"][0] == ["randomised: said by the record", str(ZERO)]


def test_the_most_complete_audit_counts_then_that_on_most_images():
    one = record()
    some = audit_of(one, images=400, planned=["model", "attacks"])
    whole = [audit_of(one, images=n) for n in (100, 200)]
    assert matched([one], [some, *whole]) == [whole[1]]


def test_several_models_of_a_row_are_all_told():
    assert told(["sound", "not audited", "sound"]) == "not audited; sound"


def test_the_report_says_it(results, tmp_path):
    files = write_report(results, tmp_path / "report")
    assert "| standard | broken (zero gradients, randomised) |" in files.markdown.read_text()
    assert "broken (zero gradients, randomised)" in files.csv.read_text()


def test_a_damaged_audit_is_named_and_who_ranks_refuses(results, tmp_path, command):
    path = next((results / "audits").rglob("*.json"))
    path.write_text(path.read_text().replace("sound", "sounder").replace('"seed": 0', '"seed": 1'))
    assert any(str(path) in line for line in write_report(results, tmp_path / "r").problems)
    ended = command("leaderboard", "--results", results, "--out", tmp_path / "out")
    ended.refused(str(path), "not a readable audit", "delete it to make it anew")


def test_a_new_flag_of_an_audit_turns_the_gate_red(check, baseline, good):
    one = unadapted(base())
    keep(good, one, audit_of(one))
    assert check("--results", good).code == 0
    keep(good, one, audit_of(one, ZERO))
    ended = check("--results", good)
    assert ended.code == 1
    assert f"{CELL}: new audit flag: {ZERO}" in ended.out
    keep(good, one, audit_of(one, ZERO, weights="others"))
    assert check("--results", good).code == 0, "of other weights it says nothing"


def test_a_known_flag_does_not(check, tmp_path):
    records = [unadapted(base()), adapted(base(episodes=3))]
    root, path = folder(tmp_path / "flagged", records), tmp_path / "flagged.json"
    keep(root, records[0], audit_of(records[0], ZERO))
    assert check("--update", "--results", root, baseline=path).code == 0
    assert "zero gradients" in path.read_text()
    more = Flag(code=ZERO.code, message="36% of images give none", value=0.36, threshold=0.0)
    keep(root, records[0], audit_of(records[0], more))
    assert check("--results", root, baseline=path).code == 0, "what was measured may differ"
    keep(root, records[0], audit_of(records[0], more, RANDOM))
    assert check("--results", root, baseline=path).code == 1


def test_audits_travel_beside_records(results, tmp_path, command):
    path = tmp_path / "mine.records.gz"
    ended = command("reference", "--results", results, "--out", path)
    assert ended.out.splitlines()[1:] == [f"{tmp_path / 'mine.audits.gz'}: 2 audits"]
    write_leaderboard([path], tmp_path / "out")
    assert rows_of(tmp_path / "out")["standard"] == "broken (zero gradients, randomised)"
    sent = (tmp_path / "mine.audits.gz").read_bytes()
    assert command("reference", "--results", path, "--out", tmp_path / "b.records.gz").code == 0
    assert (tmp_path / "b.audits.gz").read_bytes() == sent
    (tmp_path / "mine.audits.gz").write_bytes(sent[:-9])
    ended = command("leaderboard", "--results", path, "--out", tmp_path / "out")
    ended.refused("mine.audits.gz", "not a readable file of audits")


def test_no_folder_is_in_what_travels(tmp_path, command):
    defense = "checkpoint[path=/home/me/nets/net.pt]"
    one = record("pgd_l2", defense, 0, weights="w")
    secret = Flag(code="no gradient", message="it fails at /home/me/nets/net.py")
    parts = {"model": Checked(flags=[secret], skipped="cannot read /home/me/nets/x.npz")}
    root = folder(tmp_path / "r", [one])
    keep(root, one, audit_of(one, parts=parts))
    command("reference", "--results", root, "--out", tmp_path / "x.records.gz")
    (found,) = audits_of(tmp_path / "x.records.gz")
    assert found.defense == "checkpoint[path=net.pt]"
    assert "/home" not in found.model_dump_json()
    assert [*lines(found)][1].startswith("  no gradient: it fails at net.py; ")


# The page.


def test_the_page_holds_everything_there_is_to_say():
    audit = rich_audit(record())
    html = page(audit)
    for flag in audit.flags:
        paper, _, address = flag.kind.paper.rpartition(", ")
        assert f'<a href="{address}" rel="noreferrer">{paper.replace("&", "&amp;")}</a>' in html
        assert flag.kind.advice.replace("'", "&#39;") in html and flag.message in html
    assert "(0.35 against 0)" in html
    assert '<p class="verdict broken"><strong>broken</strong>' in html
    assert "1 of 5 parts have not looked yet" in html
    assert "nothing adapts: the defense has no inner loop" in html
    assert "123,456 + 98,765 passes" in html and "not measured" in html
    assert "20.0 %" in html and "15.0 to 26.0" in html and "could not run" in html


def test_a_sound_page_has_no_flag():
    html = page(audit_of(record()))
    assert "No flags" in html and "<article" not in html


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_harmless_on_the_page(name):
    parts = {name: Checked(numbers={name: 1.0}, skipped=name, flags=[
        Flag(code="bounded", message=name)
    ])}  # fmt: skip
    audit = audit_of(record(), parts=parts, defense=name, dataset=name, device=name)
    html, told_so = page(audit), "\n".join(lines(audit))
    assert "<script>alert" not in html and "\x1b" not in html + told_so
    assert "\u202e" not in html + told_so and "two\nlines" not in html + told_so


def test_every_kind_of_flag_explains_itself():
    for code, kind in KINDS.items():
        assert code == code.lower() and kind.meaning and kind.advice, code
        assert re.fullmatch(r"[^,]+ \d{4}, https://\S+", kind.paper), code


@pytest.mark.parametrize(("images", "said"), [(1, True), (49, True), (50, False)])
def test_few_images_are_said(images, said):
    audit = audit_of(record(), images=images)
    told = "a finding takes 7 images"
    assert any(told in line for line in lines(audit)) == (told in page(audit)) == said
    assert ("1 validation image," in next(iter(lines(audit)))) == (images == 1)


def test_parts_that_found_something_are_open():
    found = {"model": Checked(flags=[ZERO]), "curves": Checked(numbers={"eps 0": 1.0})}
    assert re.findall(r"<details( open)?", page(audit_of(record(), parts=found))) == [" open", ""]
