"""Curves: the closed form of a linear model, a planted attack that cannot be, chance, the files."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from benchmark import evaluate
from benchmark.cli.curve import Varied
from benchmark.core.errors import UsageError
from reports.plots.curve import curve_figure
from reports.statistics.monotone import rises
from reports.summary.curve import without

EPS = (0, 0.005, 0.01, 0.02, 0.05)

ODD = '''
from dataclasses import dataclass
from typing import ClassVar

from attacks.gradient import PGDLinf


@dataclass(frozen=True)
class Odd(PGDLinf):
    """Gives up where it may do more than 0.1."""

    name: ClassVar[str] = "odd"

    def perturb(self, model, images, labels, goal, rng):
        moved = super().perturb(model, images, labels, goal, rng)
        return images if self.eps > 0.1 else moved
'''


def linear(seed=0):
    """Two classes, logits (0, w x + b); 300 images so far inside [0, 1] that nothing is cut."""
    rng = torch.Generator().manual_seed(seed)
    images = 0.4 + 0.2 * torch.rand((300, 1, 8, 8), generator=rng)
    layer = nn.Linear(64, 2)
    weight = torch.randn(64, generator=rng)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.zeros(64), weight]))
        layer.bias.copy_(torch.stack([torch.tensor(0.0), -0.5 * weight.sum()]))
    model = nn.Sequential(nn.Flatten(), layer)
    labels = model(images).argmax(1)
    labels[:30] = 1 - labels[:30]  # wrong without an attack
    return model, images, labels


def swept(model, images, labels, attack="pgd_linf[steps=10,eps={}]", values=EPS):
    names = ",".join(attack.format(value) for value in values)
    return evaluate(model, images=images, labels=labels, attacks=names, quiet=True)


def test_a_linear_model_loses_what_its_margins_say():
    model, images, labels = linear()
    found = swept(model, images, labels).curve("eps", classes=2)
    logits = model(images).detach().double()
    margin = (2 * labels - 1) * (logits[:, 1] - logits[:, 0])
    reach = margin / model[1].weight.detach().double().diff(dim=0).abs().sum()
    assert list(found.table["value"]) == list(EPS)
    for row in found.table.itertuples():
        assert round(row.robust * row.n) == int((reach > row.value).sum())
        assert row.clean == 0.9
    assert found.table["robust"].is_monotonic_decreasing
    assert found.table["robust"].nunique() == len(EPS), "every point says something"
    assert len(found.remarks) == 1 and found.remarks[0].startswith("monotone: ")


def test_chance_that_is_not_reached_is_said():
    model, images, labels = linear()
    (chance, fine) = swept(model, images, labels, values=EPS[:2]).curve("eps", 2).remarks
    assert chance.startswith("chance not reached: ")
    assert "at eps = 0.005, the largest asked; chance is 50.0 %" in chance
    assert fine.startswith("monotone")
    assert len(swept(model, images, labels, values=EPS[:2]).curve("eps").remarks) == 1


def test_rises_are_those_of_the_exact_test():
    low = np.zeros((1, 40), bool)
    five, six = low.copy(), low.copy()
    five[:, :5], six[:, :6] = True, True  # p = 0.0625 and 0.03125
    assert rises([low, five]) == []
    (one,) = rises([low, five, six])
    assert (one.place, one.before, one.change.won, one.change.lost) == (2, 0, 6, 0)
    assert one.change.p == pytest.approx(binomtest(0, 6).pvalue)
    assert rises([six, five, low]) == []


def test_a_rise_is_seen_though_no_step_of_it_is():
    slow = [np.arange(200)[None] < count for count in (100, 104, 108, 112)]
    assert [one.place for one in rises(slow)] == [2, 3]
    assert {one.before for one in rises(slow)} == {0}


def test_a_planted_attack_is_flagged(command, tmp_path):
    (tmp_path / "odd.py").write_text(ODD)
    words = [
        "curve", "--defense", "standard[epochs=2]", "--attack", f"{tmp_path}/odd.py:Odd",
        "--vary", "eps=0.1,0.2,0,0.05", "--limit", 100, "--results", tmp_path / "r",
        "--jobs", 1,
    ]  # fmt: skip
    ended = command(*words)
    assert ended.code == 0
    (line,) = (line for line in ended.out.splitlines() if line.startswith("not monotone"))
    assert "odd.py:Odd" in line and "0 lost" in line and "stand at 0.2" in line
    assert " !" in ended.out, "marked in the table too"
    assert "chance not reached" in ended.out
    *_, png, svg = ended.err.splitlines()
    assert png.endswith(".png") and "not monotone" not in svg
    unordered = command(*words, "--unordered")
    assert "monotone" not in unordered.out and "trained" not in unordered.err, "nothing ran again"
    points = json.loads(command(*words, "--json").out)["points"]
    assert [one["value"] for one in points] == [0, 0.05, 0.1, 0.2]
    assert [one["rises"] for one in points] == [False, False, False, True]
    assert points[3]["robust"] == points[0]["robust"] == points[0]["clean"]


def test_shots_are_a_line_of_their_own(command, tmp_path):
    words = f"curve --defense standard[epochs=2] --attack fgsm --vary eps=0,0.1 --shots 1 \
        --episodes 2 --limit 50 --results {tmp_path} --jobs 1"
    ended = command(words)
    assert "robust@0 (95%)" in ended.out and "robust@1 (95%)" in ended.out
    (csv,) = (tmp_path / "curves").glob("*.csv")
    table = pd.read_csv(csv)
    assert list(table["shots"]) == [0, 0, 1, 1] and list(table["episodes"]) == [1, 1, 2, 2]
    assert (table["robust_low"] <= table["robust"]).all()
    shown = command(f"{words} --dry-run")
    assert shown.code == 0 and shown.out.count("fgsm[eps=") == 4


@pytest.mark.parametrize(
    "text", ["eps", "eps=", "eps=0.1", "eps=0.1,0.10", "=1,2", "eps=a,b", "eps=1/0,1"]
)
def test_what_varies_must_be_several_numbers(text):
    with pytest.raises(UsageError, match="expected an option and at least two numbers"):
        Varied.parse(text)


def test_values_stay_as_they_were_written_in_order_of_size():
    found = Varied.parse("eps=0.1,8/255,0")
    assert found.values == ["0", "8/255", "0.1"]
    assert found.attacks("fgsm,pgd_linf[steps=2]").split(",pgd")[0] == (
        "fgsm[eps=0],fgsm[eps=8/255],fgsm[eps=0.1]"
    )
    with pytest.raises(UsageError, match="both set it"):
        found.attacks("pgd_linf[eps=0.1]")


def test_an_option_nobody_has_is_refused():
    model, images, labels = linear()
    found = evaluate(model, images=images, labels=labels, attacks="fgsm[eps=0.1]", quiet=True)
    with pytest.raises(UsageError, match="'steps' with a number"):
        found.curve("steps")
    assert without("jitter[loss=ce]", "loss") == ("jitter[loss=ce]", None)


def test_the_figure_rings_what_is_doubtful_and_marks_decades():
    model, images, labels = linear()
    found = swept(model, images, labels, "pgd_linf[eps=0.01,steps={}]", (1, 2, 100)).curve("steps")
    (axes,) = found.plot().axes
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "steps, log scale"
    flagged = found.table.assign(rises=[False, True, False])
    figure = curve_figure(flagged, "steps", 2)
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == ["robust@0", "clean@0", "not monotone (p < 0.05)"]
    ring = figure.axes[0].get_lines()[-1]
    assert list(ring.get_xdata()) == [2.0]
