"""Plots against strength, cost and clean accuracy: what is drawn where, and when nothing is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from report_records import ATTACKS, HOSTILE, matrix, outcome, record, without

from benchmark.core.schema import Effort
from reports.leaderboard.table import board, costed
from reports.leaderboard.threats import ALL
from reports.plots.palette import SHAPES, marks
from reports.plots.strength import strength_figure
from reports.plots.tradeoff import cost_figure, pareto, plane_figure
from reports.plots.write import write_plots
from reports.tidy.aggregate import NUMBERS, views
from reports.tidy.frame import from_records
from reports.tidy.rows import Key

STRENGTHS = {0.1: [1, 1, 1, 0], 0.2: [1, 1, 0, 0], 0.4: [0, 0, 0, 0]}


def at(eps, right, defense="pgd_at", shots=0, **more):
    rows = [list(right)]
    name = f"pgd_linf[eps={eps:g},steps=20]"
    return record(name, defense, shots, outcome(rows, rows, rows), threat=f"linf {eps:g}", **more)


def with_costs(records, passes):
    """Training takes `passes` by defense; one adaptation as many passes as a hundred times K."""
    for each in records:
        spent = [Effort(forwards=100 * each.cell.budget.shots)] * each.outcome.static.episodes
        done = each.outcome.model_copy(update={"adaptation": spent})
        training = Effort(forwards=passes[each.cell.defense])
        yield each.model_copy(update={"outcome": done, "training": training})


def attacks_of(records):
    return views(from_records(records)).attacks


def test_accuracy_falls_along_eps_from_clean_at_0():
    records = [at(eps, right) for eps, right in STRENGTHS.items()]
    (axes,) = strength_figure(attacks_of([*records, record("square", "pgd_at", 0)])).axes
    (line,) = axes.get_lines()
    assert line.get_xdata() == pytest.approx([0, 0.1, 0.2, 0.4])
    assert line.get_ydata() == pytest.approx([100, 75, 50, 0])
    assert axes.get_title("left") == "pgd_linf[steps=20]"
    assert axes.get_xlabel() == "eps, linf"


def test_other_options_are_other_attacks_and_each_k_has_a_panel():
    records = [at(eps, right, shots=k) for eps, right in STRENGTHS.items() for k in (0, 1, 5)]
    records += [
        record(f"pgd_linf[steps=5,eps={eps}]", "pgd_at", 0, threat=f"linf {eps}")
        for eps in (0.1, 0.2)
    ]
    axes = strength_figure(attacks_of(records)).axes
    assert [a.get_title("left") for a in axes] == ["pgd_linf[steps=20]"] * 2 + ["pgd_linf[steps=5]"]
    assert [a.texts[0].get_text() for a in axes] == ["K = 0", "K = 5", "K = 0"]


def test_one_strength_is_no_curve():
    assert strength_figure(attacks_of(matrix(attacks=ATTACKS, shots=(0, 5), n=20))) is None


@pytest.mark.parametrize("seed", range(5))
def test_nobody_beats_the_pareto_front_and_somebody_beats_the_rest(seed):
    points = [tuple(p) for p in np.random.default_rng(seed).integers(0, 12, (30, 2)).tolist()]
    front = set(pareto(points))
    for i, (x, y) in enumerate(points):
        better = [(a, b) for a, b in points if a >= x and b >= y and a + b > x + y]
        assert (i in front) == (not better)


def test_the_plane_holds_the_numbers_of_the_board():
    table = board(from_records(matrix(attacks=ATTACKS, shots=(0, 5), n=60)))
    (axes,) = plane_figure(table).axes
    drawn = {
        (round(float(line.get_xdata()[0]), 6), round(float(line.get_ydata()[0]), 6))
        for line in axes.get_lines()
        if line.get_marker() in SHAPES
    }
    mine = table[table["threat"] == ALL]
    expected = zip(100 * mine["clean"], 100 * mine["robust"], strict=True)
    assert drawn == {(round(x, 6), round(y, 6)) for x, y in expected}


def test_a_report_draws_the_lines_of_the_board_without_making_them_anew():
    """Their numbers come from the headline; another order of the same sums moves the last bits."""
    passes = {"standard": 80_000, "pgd_at": 680_000}  # of the third it is not known
    small = matrix(attacks=ATTACKS, shots=(0, 1, 5), n=60)
    known = [each for each in small if each.cell.defense in passes]
    unknown = [each for each in small if each.cell.defense not in passes]
    records = [*with_costs(known, passes), *unknown]
    frame = from_records(without(records, "standard", "fgsm", 5))
    ours, theirs = costed(frame, views(frame).head), board(frame)
    theirs = theirs[theirs["threat"] == ALL].reset_index(drop=True)
    names = [*Key._fields, "status", *NUMBERS, "training_passes", "adaptation_passes", "threat"]
    pd.testing.assert_frame_equal(ours[names], theirs[names])
    assert set(ours["adaptation_passes"].dropna()) == {0, 100, 500}
    assert ours["training_passes"].isna().any()


def test_gain_stands_over_what_it_cost():
    passes = {"standard": 80_000, "pgd_at": 680_000, "meta_adv": 977_000}
    records = list(with_costs(matrix(attacks=ATTACKS, shots=(0, 5), n=60), passes))
    table = board(from_records(records))
    (training,) = cost_figure(table).axes  # adapting costs all of them the same
    mine = table[(table["threat"] == ALL) & (table["shots"] == 5)].set_index("defense")
    points = [line for line in training.get_lines() if len(line.get_xdata()) == 1]
    drawn = {float(line.get_xdata()[0]): float(line.get_ydata()[0]) for line in points}
    assert drawn == {passes[name]: pytest.approx(100 * mine.gain[name]) for name in passes}
    dearer = table.assign(
        adaptation_passes=table["adaptation_passes"].where(table["defense"] != "meta_adv", 900)
    )
    _, adaptation = cost_figure(dearer).axes
    ends = [line.get_xdata()[0] for line in adaptation.get_lines() if len(line.get_xdata()) == 1]
    assert sorted(ends) == [500, 500, 900]


def test_nothing_to_draw_is_no_figure():
    table = board(from_records(matrix(attacks=ATTACKS, shots=(0, 5), n=20)))
    assert cost_figure(table) is None  # no cost is known
    failed = board(from_records([record(status="failed", reason="x")]))
    assert plane_figure(failed) is None
    assert cost_figure(failed) is None


def test_marks_differ_in_colour_and_shape_together():
    found = list(marks(map(str, range(28))).values())
    assert len({(mark.colour, mark.shape) for mark in found}) == 28
    assert len({mark.shape for mark in found[:7]}) == len({mark.colour for mark in found[:7]}) == 7


@pytest.mark.parametrize("defenses", [1, 30])
def test_every_shape_fits_a_page(defenses):
    names = tuple(f"defense_{i}" for i in range(defenses))
    records = [
        at(eps, np.arange(8) < 8 - i - 2 * j, name, k)
        for i, name in enumerate(names) for j, eps in enumerate((0.1, 0.2)) for k in (0, 5)
    ]  # fmt: skip
    costs = {name: 1000 * (1 + i) for i, name in enumerate(names)}
    records = list(with_costs(records, costs))
    table = board(from_records(records))
    for figure in (strength_figure(attacks_of(records)), plane_figure(table), cost_figure(table)):
        figure.draw_without_rendering()
        width, height = figure.get_size_inches()
        assert 2 < width < 7.01
        assert 1.5 < height < 9.5


def test_hostile_names_are_drawn_as_text(tmp_path):
    costs = {name: 10 * (1 + i) for i, name in enumerate(HOSTILE)}
    records = [
        r for name in HOSTILE for j, eps in enumerate((0.1, 0.2)) for k in (0, 5)
        for r in with_costs([at(eps, [1, 0, j], name, k, dataset="$x_")], costs)
    ]  # fmt: skip
    frame = from_records(records)
    paths = write_plots(views(frame), tmp_path, board(frame))
    stems = {path.name.partition("-")[0] for path in paths}
    assert stems == {"shots", "matrix", "strength", "plane", "cost"}
    for path in paths:
        assert path.suffix == ".png" or "<script" not in path.read_text().lower()
