"""`verify`: a model asked again for what was handed in of it; whatever was made better is seen."""

from __future__ import annotations

import json

import pytest
from submission_fixtures import MODEL, packed

from benchmark.results.records import Verdicts
from benchmark.results.store import read_record, record_files
from reports.archive.reference import read_file, write_file


def test_the_model_gives_its_verdicts_again(command, handed_in):
    ended = command("verify", "--submission", handed_in, "--model", MODEL)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-2].startswith("match: 0 of ")
    assert int(ended.out.rpartition("0 of ")[2].split()[0]) >= 300
    assert ended.out.count("verdicts are others") >= 4


def test_another_model_is_a_mismatch(command, handed_in):
    ended = command("verify", "--submission", handed_in, "--model", "standard[epochs=2]")
    assert ended.code == 1
    assert ended.out.splitlines()[-2].startswith("mismatch: ")


def lifted(record, name, within, share=0.1):
    """A table of an outcome in which some images stand that fell: what a forger gains by."""
    table, most = (
        Verdicts.model_validate(record["outcome"][one]).unpack() for one in (name, within)
    )
    fallen = (most & ~table).nonzero()
    some = [one[: round(share * table.size)] for one in fallen]
    assert len(some[0]) > 0.05 * table.size
    table[tuple(some)] = True
    return json.loads(Verdicts.pack(table).model_dump_json())


def test_verdicts_made_better_are_a_mismatch(command, changed):
    """Sealed anew: one image in ten stands where it fell."""

    def lift(record):
        outcome = record["outcome"]
        outcome["before"] = lifted(record, "before", "clean_before")
        if not record["cell"]["budget"]["shots"]:
            outcome |= {"static": outcome["before"], "reattacked": outcome["before"]}
        return record

    ended = command("verify", "--submission", changed(lift), "--model", MODEL)
    assert ended.code == 1
    assert "mismatch: " in ended.out and "of robust@0)" in ended.out


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """Records of two ways to adapt, one of them infers, with who knows the rule."""
    return packed(
        tmp_path_factory.mktemp("adapted"), "--attacks", "fgsm,pgd_l2[steps=3],gaussian_noise",
        "--shots", "0,1", "--adapt", "finetune,amplify", "--knowledge", "pairs",
        "--adapt-steps", "2", "--rule",
    )  # fmt: skip


def test_every_way_to_adapt_and_who_knows_the_rule_are_asked_again(command, adapted):
    words = ["--submission", adapted, "--model", MODEL]
    ended = command("verify", *words)
    assert (ended.code, ended.err) == (0, "")
    *rows, verdict, left = ended.out.splitlines()
    # clean, robust@0 of one model; of two draws clean, static, reattacked, by rule
    asked = [int(row.rpartition("0 of ")[2].split()[0]) for row in rows[1:]]
    assert sorted(asked) == [120] * 3 + [600] * 6
    assert verdict.startswith(f"match: 0 of {sum(asked)} ")
    assert left.startswith("not asked: cost, seconds, ") and "inferred" in left


@pytest.mark.parametrize(
    ("table", "within", "name"),
    [("clean", "", "clean@K"), ("rule", "clean", "by rule"),
     ("reattacked", "clean", "reattacked@K"), ("static", "", "static@K")],
)  # fmt: skip
def test_one_kind_of_verdicts_made_better_does_not_drown(
    command, changed, adapted, table, within, name
):
    def lift(record):
        if record["cell"]["attack"] != "fgsm" or not record["cell"]["budget"]["shots"]:
            return record
        if within:
            record["outcome"][table] = lifted(record, table, within, 0.2)
            return record
        found = Verdicts.model_validate(record["outcome"][table]).unpack()
        found[:] = True  # all right without an attack, or by the stored examples
        record["outcome"][table] = json.loads(Verdicts.pack(found).model_dump_json())
        return record

    ended = command("verify", "--submission", changed(lift, source=adapted), "--model", MODEL)
    assert ended.code == 1
    assert f"of {name})" in ended.out and "\nmismatch: " in ended.out


def test_who_was_spared_and_what_was_shown_are_asked_as_they_were(command, tmp_path):
    attacks = "fgsm,pgd_linf[steps=3],pgd_l2[steps=3]"
    words = ["--shown", "fgsm", "--shots", "1", "--reattack", "standing", "--adapt-steps", "2"]
    path = packed(tmp_path, "--attacks", attacks, *words)
    ended = command("verify", "--submission", path, "--model", MODEL)
    assert (ended.code, ended.err) == (0, "")
    assert "pgd_l2[steps=3], K = 1, shown fgsm: 0 of " in ended.out


def test_parts_of_a_union_cannot_be_asked_alone(command, tmp_path):
    words = ["--attacks", "fgsm,pgd_linf[steps=3],fgm_l2,pgd_l2[steps=3]", "--shots", "0"]
    path = packed(tmp_path, *words, "--verdicts", "union")
    ended = command("verify", "--submission", path, "--model", MODEL)
    ended.refused("0 verdicts of 0 attacks are too few", "--verdicts union")


def test_the_draw_hangs_on_the_file_alone(handed_in, changed):
    from benchmark.cli.submission.drawing import drawn, seed_of

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
