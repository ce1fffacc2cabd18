"""Ways of adapting side by side, and the oracle that joining leaves alone."""

from __future__ import annotations

import pytest
from report_records import outcome, record

from reports.plots.dots import adaptation_figure, in_words
from reports.tidy.aggregate import views
from reports.tidy.frame import from_records
from reports.tidy.leave_one_out import joined

ATTACKS = {"pgd_linf": "multi_at[attacks=pgd_l2]", "pgd_l2": "multi_at[attacks=pgd_linf]"}
ORACLE = "multi_at[attacks=pgd_linf+pgd_l2]"
LEFT = {"finetune": [1, 0, 0, 0], "amplify": [1, 1, 1, 0]}
"""By method, which of four images stay correct when attacked again; stored ones all do."""


def frame_of(methods=LEFT):
    made = [
        record(attack, defense, 10, outcome([[1] * 4], [[1] * 4], [LEFT[method]]), method=method)
        for attack, defense in ATTACKS.items()
        for method in methods
    ]
    before = outcome([[1, 0, 0, 0]], [[1, 0, 0, 0]], [[1, 0, 0, 0]])
    made += [record(attack, name, 0, before, method="none") for attack, name in ATTACKS.items()]
    made += [record(attack, ORACLE, 0, before, method="none", unseen=False) for attack in ATTACKS]
    return joined(from_records(made), "attacks")


def test_an_oracle_is_not_joined_with_what_left_something_out():
    assert set(frame_of()["defense"]) == {"multi_at", ORACLE}


def test_dots_are_what_holds_and_what_stored_images_say():
    figure = adaptation_figure(views(frame_of()).attacks)
    figure.draw_without_rendering()
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(ATTACKS)
    for axes in figure.axes:
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert names == ["none", "finetune, captured", "amplify, captured"], "weakest first"
        dots = [line for line in axes.get_lines() if len(line.get_xdata()) == 1]
        hollow = {round(float(one.get_ydata()[0])): float(one.get_xdata()[0]) for one in dots
                  if one.get_markerfacecolor() == "white"}  # fmt: skip
        filled = [float(one.get_xdata()[0]) for one in dots if one.get_markerfacecolor() != "white"]
        assert hollow == {1: 100, 2: 100}
        assert sorted(filled) == pytest.approx([25, 25, 25, 75])


def test_there_is_none_where_nothing_stands_beside():
    assert adaptation_figure(views(frame_of(["amplify"])).attacks) is None


def test_what_infers_nothing_is_called_so_where_one_way_does():
    nothing = "amplify[rehearsed=50,representations=none,shown=50], simulated"
    other = "amplify[representations=none], simulated"
    assert in_words(["amplify, pairs", nothing]) == [
        "amplify, pairs",
        "nothing inferred, simulated",
    ]
    assert in_words([nothing, other]) == [nothing, other]
