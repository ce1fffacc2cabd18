"""Records that somebody hands in: real small ones on digits, true and false, said line by line."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from benchmark.results.records import Record, Verdicts
from benchmark.results.store import read_record, record_files
from reports.archive.reference import read_file, write_file

MODEL = "standard[epochs=1]"
ATTACKS = "fgsm,pgd_linf[steps=5],pgd_l2,gaussian_noise"


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory, request):
    """A packed file of real records: 4 attacks, K of 0 and 1, on 60 images."""
    from benchmark.cli import app as cli

    root = tmp_path_factory.mktemp("handed")
    patch = pytest.MonkeyPatch()
    for words in (
        ["run", "--defense", MODEL, "--attacks", ATTACKS, "--shots", "0,1", "--episodes", "2",
         "--limit", "60", "--jobs", "1", "--quiet", "--results", root / "r"],
        ["reference", "--results", root / "r", "--out", root / "mine.records.gz"],
    ):  # fmt: skip
        patch.setattr("sys.argv", ["reattack", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code in (0, None)
    patch.undo()
    return root / "mine.records.gz"


@pytest.fixture
def changed(handed_in, tmp_path):
    """The file with every record changed, sealed anew as a forger would."""

    def call(change, name="changed"):
        lines = map(json.loads, gzip.decompress(handed_in.read_bytes()).splitlines())
        made = [Record.model_validate(_bare(change(line))) for line in lines]
        return write_file(made, tmp_path / f"{name}.records.gz")

    return call


def _bare(content):
    return {name: value for name, value in content.items() if name != "content"}


def worse(record):
    """Nothing right, not even as it is."""
    none = json.loads(Verdicts.pack(np.zeros((1, 60), dtype=bool)).model_dump_json())
    names = ("clean_before", "before", "clean", "static", "reattacked")
    record["outcome"] |= dict.fromkeys(names, none)
    return record


def lines(ended, kind):
    assert ended.code == 0, ended.err
    return [line.strip() for line in ended.out.splitlines() if line.strip().startswith(kind)]


def rows(out):
    return json.loads((out / "leaderboard.json").read_text())["rows"]


def test_a_submission_is_said_line_by_line(command, handed_in, tmp_path):
    ended = command("leaderboard", "--submission", handed_in, "--out", tmp_path)
    verified = " ".join(lines(ended, "verified"))
    for part in (
        "8 of 8 records",
        "made anew from 720 verdicts",
        "versions",
        "4 attacks",
        "60 x 1",
    ):
        assert part in verified
    assert any("that this model gave them" in line for line in lines(ended, "trusted"))
    missing = " ".join(lines(ended, "missing"))
    assert "audit of the model of 8 of 8" in missing and "examples" in missing
    assert lines(ended, "refused") == []
    assert all(row["rank"] == 1 for row in rows(tmp_path) if row["threat"] == "all")


def test_a_folder_is_a_submission_too(command, handed_in, tmp_path):
    ended = command("leaderboard", "--submission", handed_in.parent / "r", "--out", tmp_path)
    assert "8 of 8 records" in " ".join(lines(ended, "verified"))


def unranked(command, path, out, why):
    ended = command("leaderboard", "--submission", path, "--out", out)
    (line,) = lines(ended, "refused")
    assert why in line
    assert all(row["rank"] is None for row in rows(out))
    assert any(why in row["missing"] for row in rows(out))


def test_weakened_options_are_not_ranked(command, changed, tmp_path):
    def weaken(record):
        if record["cell"]["attack"] == "pgd_l2":
            record["provenance"]["attack_options"]["steps"] = 2
        return record

    unranked(command, changed(weaken), tmp_path, "pgd_l2 has steps 2, not ")


def test_another_protocol_version_is_one_clear_line(command, changed, tmp_path):
    def old(record):
        record["fingerprint"]["benchmark.protocol version"] = "0"
        return record

    unranked(command, changed(old), tmp_path, "another protocol: version 0 of benchmark.protocol")


def test_clean_verdicts_of_another_model_are_not_ranked(command, changed, tmp_path):
    def mix(record):
        if record["cell"]["attack"] == "fgsm" and not record["cell"]["budget"]["shots"]:
            return worse(record)
        return record

    unranked(command, changed(mix), tmp_path, "impossible verdicts")


def test_few_images_are_not_ranked_beside_the_reference(command, handed_in, tmp_path):
    words = ["--submission", handed_in, "--with-reference", "--out", tmp_path]
    ended = command("leaderboard", *words)
    assert "images: those of the reference" in " ".join(lines(ended, "verified"))
    assert "no occlusion" in " ".join(lines(ended, "missing"))
    mine = [row for row in rows(tmp_path) if row["defense"] == MODEL]
    assert mine and all(row["rank"] is None for row in mine)
    theirs = [row for row in rows(tmp_path) if row["defense"] != MODEL]
    assert any(row["rank"] == 1 for row in theirs)


def test_another_data_set_than_the_reference_has_none_to_rank_with(command, changed, tmp_path):
    def other(record):
        record["cell"]["dataset"] = "theirs.py:data"
        return record

    words = ["--submission", changed(other), "--with-reference", "--out", tmp_path]
    missing = " ".join(lines(command("leaderboard", *words), "missing"))
    assert "the reference has none on theirs.py:data" in missing
    assert "The only row" in (tmp_path / "leaderboard.html").read_text()


def test_another_network_is_told_which_attacks_it_lacks_to_be_ranked(command, changed, tmp_path):
    def other(record):
        record["cell"]["network"] = "theirs.py:Net"
        return record

    words = ["--submission", changed(other), "--with-reference", "--out", tmp_path]
    missing = " ".join(lines(command("leaderboard", *words), "missing"))
    assert "rows to rank with" not in missing and "no occlusion" in missing
    (mine,) = [
        row for row in rows(tmp_path)
        if row["network"] == "theirs.py:Net" and (row["threat"], row["shots"]) == ("all", 0)
    ]  # fmt: skip
    assert mine["rank"] is None and mine["robust"] is not None
    assert mine["missing"].startswith("not ranked, other attacks: has no occlusion, pgd_l1, ")


def test_a_name_of_the_reference_is_taken(command, changed, tmp_path):
    def rename(record):
        record["cell"]["defense"] = "pgd_at[passes=1000000]"
        return record

    words = ["--submission", changed(rename), "--with-reference", "--out", tmp_path]
    assert "taken name" in lines(command("leaderboard", *words), "refused")[0]


def test_two_submissions_of_one_name_are_one_clear_line(command, handed_in, changed, tmp_path):
    def other(record):
        return record if record["cell"]["budget"]["shots"] else worse(record)

    two = ["--submission", handed_in, "--submission", changed(other)]
    ended = command("leaderboard", *two, "--out", tmp_path / "o")
    ended.refused("mine.records.gz", "changed.records.gz", "same cell", "leave one of them out")
    assert not (tmp_path / "o").exists()


def test_a_record_that_was_changed_and_not_sealed_is_one_clear_line(command, handed_in, tmp_path):
    path = tmp_path / "forged.records.gz"
    text = (
        gzip.decompress(handed_in.read_bytes()).decode().replace('"seconds": ', '"seconds": 1', 1)
    )
    path.write_bytes(gzip.compress(text.encode()))
    ended = command("leaderboard", "--submission", path, "--out", tmp_path / "o")
    ended.refused("forged.records.gz", "not what was written")


def test_the_model_gives_its_verdicts_again(command, handed_in):
    ended = command("verify", "--submission", handed_in, "--model", MODEL)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1].startswith("match: 0 of ")
    asked = int(ended.out.rpartition("0 of ")[2].split()[0])
    assert asked >= 300
    assert ended.out.count("verdicts are others") >= 4


def test_another_model_is_a_mismatch(command, handed_in):
    ended = command("verify", "--submission", handed_in, "--model", "standard[epochs=2]")
    assert ended.code == 1
    assert ended.out.splitlines()[-1].startswith("mismatch: ")


def test_verdicts_made_better_are_a_mismatch(command, changed):
    """What a forger gains most by, sealed anew: one image in ten stands where it fell."""

    def lift(record):
        outcome = record["outcome"]
        clean = Verdicts.model_validate(outcome["clean_before"]).unpack()
        before = Verdicts.model_validate(outcome["before"]).unpack()
        fallen = (clean & ~before)[0].nonzero()[0][:6]
        before[0, fallen] = True
        lifted = json.loads(Verdicts.pack(before).model_dump_json())
        outcome["before"] = lifted
        if not record["cell"]["budget"]["shots"]:
            outcome |= {"static": lifted, "reattacked": lifted}
        return record

    ended = command("verify", "--submission", changed(lift), "--model", MODEL)
    assert ended.code == 1
    assert "mismatch: " in ended.out


def test_the_draw_hangs_on_the_file_alone(handed_in, changed):
    from benchmark.cli.submission.verifying import drawn, seed_of

    records = list(read_file(handed_in))
    assert list(drawn(records)) == list(drawn(records[::-1]))
    other = list(read_file(changed(lambda record: record | {"flags": ["x"]})))
    assert seed_of(records) != seed_of(other)


def test_what_is_too_little_to_verify(command, handed_in, tmp_path):
    root = handed_in.parent / "r"
    few = [read_record(path) for path in record_files(root)][:2]
    path = write_file(few, tmp_path / "few.records.gz")
    ended = command("verify", "--submission", path, "--model", MODEL)
    ended.refused("too few to verify", "at least 300 of 3")


def test_several_models_in_a_file_are_named(command, handed_in, changed, tmp_path):
    def rename(record):
        record["cell"]["defense"] = "b"
        return record

    both = [*read_file(handed_in), *read_file(changed(rename))]
    path = write_file(both, tmp_path / "both.records.gz")
    ended = command("verify", "--submission", path, "--model", MODEL)
    ended.refused("one trained model, got 2", "--defense", MODEL)
    words = ["--submission", path, "--model", MODEL, "--defense", MODEL]
    assert command("verify", *words).code == 0


def judge():
    """The script of the workflow that takes pull requests, and the whole of it."""
    path = Path(__file__).parents[2] / ".github" / "workflows" / "submission.yml"
    text = path.read_text()
    script = text[text.index("        run: |\n", text.index("- name: Judge")) :]
    return textwrap.dedent(script.split("\n", 1)[1]), text


def test_the_workflow_gives_no_rights_and_runs_nothing_of_the_fork():
    _, text = judge()
    assert "on:\n  pull_request:\n" in text
    assert "pull_request_target" not in text.split("name:", 1)[1]
    assert "permissions:\n  contents: read\n" in text
    assert "secrets." not in text
    assert text.count("persist-credentials: false") == text.count("actions/checkout@")


@pytest.mark.parametrize("true", [True, False])
def test_the_workflow_posts_the_table_and_is_red_where_something_is_refused(
    handed_in, changed, tmp_path, true
):
    def weaken(record):
        record["provenance"]["attack_options"]["steps"] = 1
        return record

    theirs = tmp_path / "theirs"
    theirs.mkdir()
    git = ["git", "-C", theirs, "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "base"], check=True)
    name = "it's `mine` $(touch owned).records.gz"
    (theirs / name).write_bytes((handed_in if true else changed(weaken)).read_bytes())
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "mine"], check=True)
    summary = tmp_path / "summary.md"
    env = os.environ | {"BASE": "HEAD~1", "GITHUB_STEP_SUMMARY": str(summary)}
    env |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = ["bash", "-c", judge()[0]]
    ended = subprocess.run(
        words, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert ended.returncode == (0 if true else 1), ended.stderr
    told = summary.read_text()
    assert "verified: hashes: 8 of 8" in told
    assert ("refused: " in told) is not true
    assert "| defense | network | adaptation | rank@" in told
    assert not list(tmp_path.rglob("owned"))
