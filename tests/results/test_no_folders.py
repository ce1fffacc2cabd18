"""Nothing that is shown or sent names a folder of the machine it comes from."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd
import pytest
from report_records import folder, outcome, record

from benchmark.results.cells import Choice
from benchmark.results.records import Record
from reports.archive.paths import bare, command, label
from reports.archive.reference import read_file
from reports.archive.shareable import shareable
from reports.tidy.sources import gather

SECRET = "secret-user"
PLACES = [
    f"/home/{SECRET}", f"/home/{SECRET}/My Models", f"/srv/it's {SECRET}/x", f"~/{SECRET}",
    f"~{SECRET}", f"../{SECRET}", f"$HOME/{SECRET}", f"file:///home/{SECRET}",
    f"/data/[{SECRET}]", f'/data/"{SECRET}" 2', f"/a: b/{SECRET} (d): e",
]  # fmt: skip
WINDOWS = [f"C:\\Users\\{SECRET}", f"\\\\host\\{SECRET}", f"%USERPROFILE%\\{SECRET}"]
FIXED = {
    "schema_version", "dataset", "network", "status", "bits", "method", "knowledge", "split",
    "query", "data", "weights",
}  # fmt: skip
"""Fields whose texts are hashes, or one of a few words."""
WHOLE = outcome([[1, 0, 1, 1]], [[1, 1, 1, 1]], [[1, 0, 1, 1]])
CHOICE = Choice(
    dataset="digits", network="small_cnn", defense="x", knowledge="captured", method="finetune",
    steps=10, lr=0.1, attacks=("x",), families=("x",), shots=(5,), seeds=(0,), episodes=1, n=4,
    candidates=1, max_clean_drop=0.1, robust=0.5, interval=(0.4, 0.6), before=0.4, clean_drop=0.0,
    created="x", commit="x",
)  # fmt: skip


def filled(value, file, key=""):
    """Every text in it that is not FIXED names the file; what holds labels or commands, in one."""
    if isinstance(value, dict):
        return {name: filled(one, file, name) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [filled(one, file, key) for one in value]
    if not isinstance(value, str) or key in FIXED:
        return value
    if key in ("defense", "attack", "attacks", "shown"):
        return f"{value}[start=checkpoint[path={file}],eps=8/255]"
    if key == "command":
        place = file.rpartition("/")[0]
        words = f'--results "{place}" --data-dir={place.replace(" ", "")} --cache {file!r}'
        return f"python -m benchmark run {words} --defense 'checkpoint[path={file}]'"
    if key == "traceback":
        return f'  File "{file}", line 3, in fit\n    open({file!r})\nOSError: {file}: not there'
    return file if key in ("path", "file") else f"cannot read {file}"


def everywhere(file):
    """Records, done and failed, with the file named wherever a record holds a text."""
    options = {"path": "x", "file": "x", "start": "x"}
    for attack, more in (("fgsm", {}), ("cw", {"status": "failed", "reason": "x"})):
        base = record(attack, "x", 5, WHOLE if not more else None, flags=["x"],
                      trained_on=["x"], limit=4, **more)  # fmt: skip
        provenance = base.provenance.model_copy(
            update={"attack_options": options, "defense_options": options, "commit": "x",
                    "shown_options": {"x": options}, "tuned": CHOICE}
        )  # fmt: skip
        told = {"provenance": provenance, "families_shown": ["x"], "probes": {"x": 1.0}}
        told |= {"traceback": "x"} if "traceback" in Record.model_fields else {}
        found = filled(base.model_copy(update=told).model_dump(), file)
        found["probes"] = {file: 1.0}
        found["provenance"]["shown_options"] = {file: options}
        yield Record.model_validate(found)


def texts(value):
    if isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def leaks(text):
    return SECRET in text


@pytest.mark.parametrize("place", PLACES + WINDOWS)
def test_no_field_of_a_record(place):
    given = list(everywhere(f"{place}{'/' if '/' in place else chr(92)}net.pt"))
    assert all(map(leaks, (each.cell.defense for each in given)))
    for before, after in zip(given, shareable(given), strict=True):
        found = [text for text in texts(after.model_dump()) if leaks(text)]
        assert not found
        assert after.outcome == before.outcome
        assert after.fingerprint == before.fingerprint
        assert "net.pt" in after.cell.defense


@pytest.fixture
def secret(tmp_path):
    """A results folder that lies in the secret place, and its records."""
    place = tmp_path / SECRET / "it's mine"
    return folder(place, everywhere(f"/home/{SECRET}/My Models/net.pt"))


def written(out: Path):
    """What each file below holds, as text; names of files count too."""
    for path in sorted(out.rglob("*")):
        yield path.name, path.name
        if path.suffix == ".parquet":
            yield path.name, pd.read_parquet(path).to_json()
        elif path.is_file():
            raw = path.read_bytes()
            yield (
                path.name,
                (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("latin1"),
            )


def test_no_file_that_is_made_of_records(tmp_path, secret, command, monkeypatch):
    out = tmp_path / "out"
    (tmp_path / "page.png").touch()
    baseline, junit, summary = out / "baseline.json", out / "gate.xml", out / "step.md"
    out.mkdir()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    for words in (
        ("leaderboard", "--results", secret, "--out", out / "board"),
        ("reference", "--results", secret, "--out", out / "x.records.gz"),
        ("report", "--results", secret, "--out", out / "report"),
        ("check", "--update", "--results", secret, "--baseline", baseline),
        ("check", "--results", secret, "--baseline", baseline, "--junit", junit, "--github"),
        ("compare", secret, secret, "--out", out / "compared"),
    ):
        ended = command(*words)
        assert ended.code == 0, ended.err
        if words[0] in ("check", "compare"):
            assert not leaks(ended.out)
    found = dict(written(out))
    assert set(found) > {
        "leaderboard.html", "leaderboard.tex", "results.parquet", "summary.md", "gate.xml",
        "step.md", "baseline.json", "comparison.json", "x.records.gz",
    }  # fmt: skip
    assert not [name for name, text in written(out) if leaks(text)]
    assert "net.pt" in found["leaderboard.html"]
    assert "Make it again" in found["leaderboard.html"]


def test_what_was_sent_can_be_ranked(tmp_path, secret, command):
    """It is read back, sealed anew, and gives the same board as the folder."""
    sent = tmp_path / "x.records.gz"
    assert command("reference", "--results", secret, "--out", sent).code == 0
    assert {each.cell for each in read_file(sent)} == {one.record.cell for one in gather([secret])}
    for number, place in enumerate((secret, sent)):
        assert command("leaderboard", "--results", place, "--out", tmp_path / str(number)).code == 0
    one, other = (pd.read_csv(tmp_path / name / "leaderboard.csv") for name in "01")
    pd.testing.assert_frame_equal(one, other)


def test_a_picture_that_is_left_out_is_named_by_its_file(tmp_path, secret, command):
    for path in (secret / "records").rglob("*.json"):
        path.with_suffix(".png").write_bytes(b"none")
    assert command("leaderboard", "--results", secret, "--out", tmp_path / "o").code == 0
    html = (tmp_path / "o" / "leaderboard.html").read_text()
    assert "picture left out: " in html
    assert not leaks(html)


def test_a_baseline_that_names_a_folder_still_gates(tmp_path, secret, command):
    baseline = tmp_path / "baseline.json"
    words = ("check", "--results", secret, "--baseline", baseline)
    assert command(*words, "--update").code == 0
    text = baseline.read_text()
    assert "path=net.pt" in text
    baseline.write_text(text.replace("path=net.pt", f"path=/home/{SECRET}/net.pt"))
    ended = command(*words)
    assert ended.code == 0, ended.err


def test_a_defense_may_be_compared_by_the_name_it_was_given(tmp_path, command):
    records = [record("fgsm", f"checkpoint[path=/a b/{name}.pt]", 0) for name in "xy"]
    place = folder(tmp_path / "r", records)
    for names in (("checkpoint[path=/a b/x.pt]", "checkpoint[path=/a b/y.pt]"),
                  ("checkpoint[path=x.pt]", "checkpoint[path=y.pt]")):  # fmt: skip
        ended = command("compare", *names, "--results", place, "--json")
        assert ended.code == 0, ended.err
        assert '"a": "checkpoint[path=x.pt]"' in ended.out


@pytest.mark.parametrize("text", [
    "linf 8/255", "and/or n/a", "</script>", "https://x.org/a/b.html", "captured/simulated",
    "a / b", "\\frac{1}{0}", "0.5/2.5", "2026-01-01T00:00:00Z", "1 of 2 cells: pgd_l2 failed", "/",
])  # fmt: skip
def test_what_names_no_place_stays(text):
    assert bare(text) == text


def test_labels_and_commands_keep_all_but_folders():
    assert label("pgd_linf[eps=8/255,steps=40]") == "pgd_linf[eps=8/255,steps=40]"
    assert label("multi_at[attacks=pgd_l2+pgd_l1]") == "multi_at[attacks=pgd_l2+pgd_l1]"
    assert label("first/model.py:Net[width=2]") == "model.py:Net[width=2]"
    said = "python -m benchmark run --attacks 'family:l2-gradient,pgd_*[eps=8/255]' --seeds 0,1"
    assert command(said) == said
