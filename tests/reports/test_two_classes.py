"""Sensitivity and specificity, against counts by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from reports.statistics.intervals import wilson
from reports.summary.two_classes import section, two_classes
from reports.tidy.frame import load


@pytest.fixture
def results(tmp_path, run):
    """Two classes, of which the linear model gets the bright one right more often."""
    labels = np.arange(200) % 2
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (200, 8, 8)) + 60 * labels[:, None, None]
    np.savez(tmp_path / "x.npz", images=images.astype(np.uint8), labels=labels,
             class_names=np.array(["healthy", "ill"]))  # fmt: skip
    text = f"npz:{tmp_path / 'x.npz'}"

    def made(*words, data=text):
        ended = run("--dataset", data, "--network", "small_cnn", *words,
                    defense="standard[epochs=4]", attacks="fgsm,fgm_l2")  # fmt: skip
        assert ended.code == 0, ended.err
        return ended

    return made, text, tmp_path / "results"


def test_each_class_is_counted(results):
    made, _, folder = results
    ended = made()
    assert "ill (sensitivity)" in ended.out
    frame = load(folder)
    (row,) = two_classes(frame).to_dict("records")
    positives = frame["positives"][0]
    assert 5 < positives.sum() < 15, "of the 20 images that were scored"
    both = frame["verdicts"][0].robust[0] & frame["verdicts"][1].robust[0]
    right = int(both[positives].sum())
    assert row["sensitivity"] == right / positives.sum()
    assert row["sensitivity_interval"] == wilson(right, int(positives.sum()))
    assert row["specificity"] == both[~positives].mean()
    clean = frame["verdicts"][0].clean[0]
    assert row["clean_specificity"] == clean[~positives].mean()
    assert (row["positive"], row["attacks"]) == ("ill", 2)
    page = "\n".join(section(frame))
    assert "## Two classes" in page and "ill" in page


def test_no_number_is_cut_short_in_80_letters(results):
    made, _, _ = results
    out = made().out
    assert "…" not in out[out.index("clean") :].replace("npz:", "")
    table = two_classes(load(results[2]))
    low, high = table["sensitivity_interval"][0]
    assert f"({100 * low:.1f}" in out and f"{100 * high:.1f})" in out


def test_the_positive_class_can_be_named(results):
    made, text, folder = results
    made(data=f"{text}[positive=healthy]")
    frame = load(folder)
    assert set(frame["positive"]) == {"healthy"} and set(frame["dataset"]) == {
        "npz:x.npz[positive=healthy]"
    }


def test_what_has_ten_classes_has_no_such_table(run, tmp_path):
    ended = run("--json")
    assert ended.code == 0
    assert not len(two_classes(load(tmp_path / "results"))) and json.loads(ended.out)["cells"]


def test_a_class_that_is_none_is_refused(results, run):
    _, text, _ = results
    ended = run("--dataset", f"{text}[positive=sick]")
    assert ended.code == 2 and "unknown class in positive" in ended.err and "ill" in ended.err
