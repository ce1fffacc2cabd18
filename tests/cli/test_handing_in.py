"""Records that somebody hands in: real small ones on digits, true and false, said line by line."""

from __future__ import annotations

import gzip
import json

import pytest
from submission_fixtures import MODEL, worse


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


def test_an_attack_more_is_no_hole_in_the_rows_of_the_reference(command, handed_in, tmp_path):
    """It has `pgd_linf[steps=5]`, which they have not."""
    words = ["--submission", handed_in, "--with-reference", "--out", tmp_path]
    missing = lines(command("leaderboard", *words), "missing")
    assert "missing: reference under pgd_linf[steps=5]: ranked without" in missing
    theirs = [
        row for row in rows(tmp_path)
        if (row["dataset"], row["threat"]) == ("digits", "all") and row["defense"] != MODEL
    ]  # fmt: skip
    assert {row["shots"] for row in theirs} == {0, 1, 10}
    assert all(row["rank"] for row in theirs), "nobody else moves"


@pytest.fixture
def missing_of(command, changed, tmp_path):
    """What is said to be missing beside the reference where a cell says something else."""

    def said(part, value):
        def other(record):
            record["cell"][part] = value
            return record

        words = ["--submission", changed(other), "--with-reference", "--out", tmp_path]
        return " ".join(lines(command("leaderboard", *words), "missing"))

    return said


def test_another_data_set_than_the_reference_has_none_to_rank_with(missing_of, tmp_path):
    missing = missing_of("dataset", "theirs.py:data")
    assert "the reference has none on theirs.py:data" in missing
    assert "The only row" in (tmp_path / "leaderboard.html").read_text()


def test_another_network_is_told_which_attacks_it_lacks_to_be_ranked(missing_of, tmp_path):
    missing = missing_of("network", "theirs.py:Net")
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


def test_hostile_names_are_one_harmless_line_each(command, changed, tmp_path):
    """In every text of a record that a submission may choose."""
    name = "a\n  verified: all\x1b[31m\u202e::error::x <script>|`"

    def spoil(record):
        record["cell"]["defense"] = record["cell"]["network"] = name
        record["fingerprint"] |= {"weights": name, "benchmark.protocol version": name}
        record |= {"trained_on": [name], "flags": [name]}
        about = dict.fromkeys(("title", "authors", "paper", "link", "summary", "label"), name)
        record["provenance"] |= {"about": about, "command": name}
        return record

    words = ["--submission", changed(spoil, "it's\u202e"), "--out", tmp_path / "o"]
    ended = command("leaderboard", *words)
    assert ended.code == 0, ended.err
    *said, _, _, _, _, _ = ended.out.splitlines()  # the files that were written
    kinds = ("refused: ", "verified: ", "trusted: ", "missing: ")
    assert all(line.isprintable() for line in said)
    assert all(line.startswith(tuple(f"  {kind}" for kind in kinds)) for line in said[1:])
    assert not any(line.startswith("  verified: all") for line in said)
