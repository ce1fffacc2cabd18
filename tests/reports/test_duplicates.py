"""Near-duplicates: known geometry, linear models, the command, and what is counted once."""

import json

import numpy as np
import pandas as pd
import pytest
from report_records import folder, matrix, record
from scipy.spatial.distance import cdist

from benchmark.core.errors import UsageError
from reports.leaderboard.write import write_leaderboard
from reports.statistics.similarity import agreement, clusters, cosines, least, signs, tree
from reports.summary.duplicates import Crafted, similar
from reports.summary.write import write_report
from reports.tidy.distinct import distinct, read_clusters
from reports.tidy.frame import from_records

LINEAR = '''
import torch
from torch import nn

from benchmark.data.load import load


def net():
    """Least squares of the classes on the pixels."""
    train = load("digits", None, False, 0).train.batch()
    layer = nn.Linear(64, 10)
    onehot = nn.functional.one_hot(train.labels, 10).float()
    flat = train.images.flatten(1)
    weight = torch.linalg.lstsq(torch.cat([flat, torch.ones(len(flat), 1)], 1), onehot).solution
    with torch.no_grad():
        layer.weight.copy_(weight[:-1].T)
        layer.bias.copy_(weight[-1])
    return nn.Sequential(nn.Flatten(), layer)


def other():
    model = net()
    with torch.no_grad():
        model[1].weight.mul_(2)
        model[1].bias.mul_(2)
    return model
'''


def test_cosines_are_those_of_scipy_and_skip_what_stood_still():
    moved = np.random.default_rng(0).normal(size=(3, 5, 20))
    expected = np.mean([1 - cdist(moved[:, i], moved[:, i], "cosine") for i in range(5)], axis=0)
    assert cosines(moved) == pytest.approx(expected)
    moved[0, 2:] = 0
    two = 1 - np.mean([cdist(moved[:1, i], moved[1:2, i], "cosine") for i in range(2)])
    assert cosines(moved)[0, 1] == pytest.approx(two), "over the images that both moved"
    moved[0] = 0
    assert np.isnan(cosines(moved)[0]).all()


def test_signs_forgive_rounding():
    assert signs(np.array([[[1e-9, -2.0, 0.3, 0.0]]])).tolist() == [[[0, -1, 1, 0]]]


def test_agreement_and_the_least_of_measures():
    stood = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], bool)
    assert agreement(stood)[0, 1] == 0.75
    assert np.isnan(agreement(stood[:, :0])).all()
    unknown = np.full((2, 2), np.nan)
    assert least([agreement(stood), unknown])[0, 1] == 0.75
    assert least([unknown, unknown]).tolist() == [[1, 0], [0, 1]], "nothing known: not alike"


def test_average_linkage_by_hand():
    """a and b 0.9 alike; c 0.8 and 0.6 to them: joined at their mean, 0.7."""
    alike = np.array([[1, 0.9, 0.8], [0.9, 1, 0.6], [0.8, 0.6, 1]])
    joined = tree(alike)
    assert joined[:, 2] == pytest.approx([0.1, 0.3])
    assert len(set(clusters(joined, 0.9))) == 2, "the threshold itself is enough"
    assert len(set(clusters(joined, 0.71))) == 2
    assert len(set(clusters(joined, 0.7))) == 1


def planted(source, stood, moved, clean=None):
    images = moved.shape[1]
    right = np.ones(images, bool) if clean is None else clean
    return Crafted(source, moved, dict.fromkeys(stood, right), stood)


def test_verdicts_part_what_looks_alike_and_the_strongest_stands_for_all():
    rng = np.random.default_rng(1)
    way = rng.normal(size=(1, 10, 6))
    moved = np.concatenate([way, 2 * way, way, rng.normal(size=(1, 10, 6))])
    stood = np.ones((4, 10), bool)
    stood[1, 0] = False  # nine of ten verdicts are equal
    stood[2, :5] = False  # half of them
    one = planted("m", {"m": stood}, moved)
    found = similar(list("abcd"), ["f"] * 4, [1] * 4, [one], 0.85, {}, "data")
    assert found.labels == ["b", "b", "c", "d"]
    table = found.clusters
    assert table.loc[table["cluster"] == "b", "attack"].tolist() == ["b", "a"]
    pair = found.pairs.set_index(["a", "b"]).loc[("a", "c")]
    assert (pair["cosine"], pair["agreement"]) == (pytest.approx(1), 0.5)
    assert pair["similarity"] == 0.5 and np.isnan(pair["transfer"])


def test_what_transfers_counts_and_wrong_images_do_not():
    moved = np.ones((2, 4, 3))
    clean = np.array([True, True, True, False])
    own = np.zeros((2, 4), bool)
    there = np.array([[1, 1, 1, 0], [0, 1, 1, 0]], bool)
    one = planted("m", {"m": own, "t": there}, moved, clean)
    found = similar(["a", "b"], ["f", "g"], [1, 1], [one], 0.9, {}, "data")
    (pair,) = found.pairs.itertuples()
    assert pair.agreement == 1 and pair.transfer == pytest.approx(2 / 3)
    assert found.labels == ["a", "b"]
    rates = found.transfer.set_index(["attack", "target"])["broken"]
    assert rates["b", "t"] == pytest.approx(1 / 3) and rates["a", "m"] == 1
    assert set(found.transfer["n"]) == {3}


def test_too_little_is_refused():
    one = planted("m", {"m": np.ones((1, 2), bool)}, np.ones((1, 2, 3)))
    with pytest.raises(UsageError, match="at least two attacks"):
        similar(["a"], ["f"], [1], [one], 0.9, {}, "data")
    two = planted("m", {"m": np.ones((2, 2), bool)}, np.ones((2, 2, 3)), np.zeros(2, bool))
    with pytest.raises(UsageError, match="no image is right"):
        similar(["a", "b"], ["f", "f"], [1, 1], [two], 0.9, {}, "data")


def test_on_a_linear_model_bim_is_pgd_and_l1_is_not_linf(command, tmp_path):
    (tmp_path / "linear.py").write_text(LINEAR)
    words = [
        "duplicates", "--defense", f"{tmp_path}/linear.py:net,{tmp_path}/linear.py:other",
        "--attacks", "pgd_linf[steps=40],bim[steps=40],pgd_l1,uniform_noise,tifgsm",
        "--limit", 40, "--results", tmp_path / "r", "--jobs", 1,
    ]  # fmt: skip
    ended = command(*words)
    assert ended.code == 0
    (line,) = (line for line in ended.out.splitlines() if line.startswith("cluster "))
    assert "bim[steps=40]" in line and "pgd_linf[steps=40]" in line
    assert "3 of 4 attacks are distinct" in ended.out
    assert "left out: tifgsm: skipped: " in ended.out
    out = tmp_path / "r" / "duplicates"
    assert {path.name for path in out.iterdir()} == {
        "pairs.csv", "clusters.csv", "transfer.csv", "dendrogram.png", "dendrogram.svg"
    }  # fmt: skip
    crafted = sorted((tmp_path / "r" / "cache").iterdir())
    again = json.loads(command(*words, "--json").out)
    pairs = {(one["a"], one["b"]): one for one in again["pairs"]}
    assert pairs["pgd_linf[steps=40]", "bim[steps=40]"]["similarity"] > 0.8
    assert pairs["bim[steps=40]", "pgd_l1"]["similarity"] < 0.6
    own = [one for one in again["transfer"] if one["source"] != one["target"]]
    assert len(own) == 8
    assert sorted((tmp_path / "r" / "cache").iterdir()) == crafted, "nothing is crafted twice"


def test_flags_that_make_no_sense(command, tmp_path):
    words = f"duplicates --defense standard --attacks fgsm,bim --results {tmp_path}"
    command(f"{words} --threshold 0").refused("--threshold")
    command(f"{words} --limit 90000000").refused("--limit", "ask for at most")
    assert command(f"{words} --dry-run").code == 0 and not (tmp_path / "records").exists()


def clusters_file(path, *pairs):
    pd.DataFrame(pairs, columns=["cluster", "attack"]).to_csv(path, index=False)
    return path


def test_of_each_cluster_the_first_that_is_there_counts(tmp_path):
    frame = from_records(matrix(attacks=("fgsm", "pgd_linf", "pgd_l2"), defenses=("pgd_at",)))
    file = clusters_file(
        tmp_path / "c.csv", ("bim", "bim"), ("bim", "pgd_linf"), ("bim", "fgsm"),
    )  # fmt: skip
    kept = distinct(frame, file)
    assert set(kept.frame["attack"]) == {"pgd_linf", "pgd_l2"}
    assert kept.lines == [
        "counted once, as pgd_linf: fgsm", "not compared with others, so counted each: pgd_l2"
    ]  # fmt: skip
    assert len(distinct(frame, clusters_file(file, ("a", "a"))).frame) == len(frame)


def test_reports_say_what_counts_once(tmp_path):
    results = folder(tmp_path / "r", matrix(attacks=("fgsm", "pgd_linf"), shots=(0,)))
    file = clusters_file(tmp_path / "c.csv", ("pgd_linf", "pgd_linf"), ("pgd_linf", "fgsm"))
    plain = write_report(results, tmp_path / "plain").markdown.read_text()
    assert "counted once" not in plain and "near-duplicates too" in plain
    once = write_report(results, tmp_path / "once", clusters=file).markdown.read_text()
    assert r"counted once, as pgd\_linf: fgsm" in once or "counted once, as pgd_linf: fgsm" in once
    write_leaderboard([results], tmp_path / "board", clusters=file)
    board = json.loads((tmp_path / "board" / "leaderboard.json").read_text())
    assert {row["attacks"] for row in board["rows"]} == {1}
    assert all("counted once, as pgd_linf: fgsm" in row["note"] for row in board["rows"])


def test_files_that_are_no_clusters(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        read_clusters(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="lacks the columns"):
        read_clusters(tmp_path / "x.csv")


def test_unseen_by_name_is_yes_no_or_unknown_in_every_table(tmp_path):
    values = {"fgsm": True, "pgd_linf": False, "bim": None}
    records = [
        record(name, shots=0, unseen=False).model_copy(update={"unseen_by_name": value})
        for name, value in values.items()
    ]
    written = write_report(folder(tmp_path / "r", records), tmp_path / "out")
    table = pd.read_csv(written.csv).set_index("attack")["unseen_by_name"]
    assert (table["fgsm"], table["pgd_linf"]) == (True, False) and pd.isna(table["bim"])
    page = written.markdown.read_text()
    for name, word in (("fgsm", "yes"), ("pgd_linf", "no"), ("bim", "unknown")):
        (line,) = (one for one in page.splitlines() if f"| {name} |" in one)
        assert f"| {word} |" in line
