"""Two models under one name: told apart or refused, never one row."""

import pytest
from report_records import folder, matrix, one, record

from benchmark.core.errors import UsageError
from benchmark.results.store import record_path
from reports.leaderboard.table import board
from reports.tidy.frame import from_records
from reports.tidy.sources import gather
from reports.tidy.verdicts import read_strictly, scored
from reports.tidy.warnings import warnings


def of(weights, attack, shots=0, **more):
    return record(attack, "model.py:Net", shots, weights=weights, **more)


CASES = {
    "other attacks": (of("w1", "fgsm"), of("w2", "square")),
    "one adapts": (of("w1", "fgsm"), of("w2", "fgsm", 5)),
    "one says nothing of its weights": (
        of("w1", "fgsm"), of("w1", "cw").model_copy(update={"fingerprint": {}})
    ),
}  # fmt: skip


@pytest.mark.parametrize("pair", CASES.values(), ids=CASES)
def test_two_folders_are_refused_by_file(tmp_path, command, pair):
    folders = [folder(tmp_path / name, [each]) for name, each in zip("ab", pair, strict=True)]
    words = [word for place in folders for word in ("--results", place)]
    files = [record_path(place, each.cell) for place, each in zip(folders, pair, strict=True)]
    for name in ("leaderboard", "reference"):
        out = tmp_path / "x.records.gz"
        ended = command(name, *words, "--out", out)
        ended.refused(*map(str, files), "two models, both called model.py:Net", "leave it out")
        assert not out.exists()


@pytest.mark.parametrize("pair", CASES.values(), ids=CASES)
def test_one_folder_is_neither_ranked_nor_gated(tmp_path, pair):
    place = folder(tmp_path / "r", pair)
    with pytest.raises(UsageError, match="two models"):
        gather([place])
    with pytest.raises(UsageError, match="are of two models"):
        scored(read_strictly(place), "r")


def test_a_report_shows_the_hole_or_says_so():
    hole = one(board(from_records(CASES["other attacks"])), "model.py:Net", 0)
    assert hole.missing.startswith("1 of 2 cells: ")
    assert hole.missing.endswith(" scored on another model")
    found = warnings(from_records(CASES["one adapts"]))
    assert [each.message for each in found if each.kind == "models"] == [
        "2 models under one name, e.g. in the cells of fgsm and fgsm: numbers of different models "
        "stand beside each other; run the cells again"
    ]
    assert not [each for each in warnings(from_records(matrix())) if each.kind == "models"]


def test_other_seeds_data_sets_and_defenses_are_other_models(tmp_path):
    records = [
        of("w1", "fgsm"), of("w2", "fgsm", seed=1), of("w3", "fgsm", dataset="mnist"),
        record("fgsm", "b", 0, weights="w4"),
    ]  # fmt: skip
    assert len(gather([folder(tmp_path, records)])) == 4


def test_a_quick_run_of_an_older_model_does_not_count_beside_a_full_one(tmp_path):
    quick = matrix(("a",), ("fgsm", "cw"), (0,), n=20)
    quick = [each.model_copy(update={"fingerprint": {"data": "q0", "weights": "old"}})
             for each in quick]  # fmt: skip
    full = matrix(("a",), ("fgsm", "cw"), (0,), n=60)
    place = folder(tmp_path, [*quick, *full])
    assert {each.record.outcome.n for each in gather([place])} == {60}
    assert len(scored(read_strictly(place), "r")) == 3


def test_files_of_one_name_in_two_folders_are_two_rows(tmp_path):
    records = [
        record("fgsm", f"checkpoint[path={place}/net.pt]", 0, weights=weights)
        for place, weights in (("/home/me", "w1"), ("/srv/x y", "w2"), ("other", "w1"))
    ]
    names = {each.record.cell.defense for each in gather([folder(tmp_path, records)])}
    assert len(names) == 2
    assert all(name.startswith("checkpoint[path=net.pt@") for name in names)
    frame = from_records(records)
    assert set(frame["defense"]) == names
    assert frame["defense"][0] == frame["defense"][2]  # the same weights: the same model
