"""What a plan makes of `--shown` and `--sequence`."""

from __future__ import annotations

import pytest
from own_models import Team, fill_with
from tiny_runs import run, tiny_plan

from benchmark.core.errors import UsageError
from benchmark.execution.loading import by_group, group_name
from benchmark.plan.cost import cost
from benchmark.plan.matrix import make_plan
from benchmark.plan.request import Suite, make_request


def test_what_is_shown_alone_and_scored_is_the_plain_cell():
    plain, shown = (
        set(tiny_plan("fgsm", **how).cells)
        for how in ({}, {"sequence": "fgsm"})
    )  # fmt: skip
    assert plain == shown
    assert set(tiny_plan("fgsm", shown="fgsm").cells) == plain
    assert {cell.shown for cell in plain} == {()}


def test_what_arrives_is_what_is_scored_unless_said():
    suite = Suite(description="", defenses="standard", sequence="fgsm,square", attacks="fgm_l1")

    def scored(**flags):
        return list(
            dict.fromkeys(cell.attack for cell in make_plan(make_request(flags), suite).cells)
        )

    assert scored() == ["fgm_l1"]
    assert scored(sequence="fgsm,fgm_l2") == ["fgsm", "fgm_l2"]
    assert scored(sequence="fgsm,fgm_l2", attacks="square") == ["square"]
    shown = {cell.shown for cell in make_plan(make_request({"shown": "square"}), suite).cells}
    assert shown == {(), ("square",)}, "a flag wins over the suite's sequence"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"sequence": "fgsm,pgd_linff"}, "unknown attack 'pgd_linff'"),
        ({"shown": "pgd_linff"}, "unknown attack 'pgd_linff'"),
        ({"sequence": " , "}, "--sequence ' , ' names no attack"),
        ({"shown": ","}, "--shown ',' names no attack"),
        ({"sequence": "fgsm", "shown": "each"}, "expected --shown or --sequence, got both"),
    ],
)
def test_what_cannot_be_shown_is_refused(flags, said):
    with pytest.raises(UsageError, match=said):
        tiny_plan("fgsm", **flags)


# Who computes.


def test_several_processes_give_the_records_of_one(tmp_path):
    """Each worker adapts to what came before, at a cost of its own; the models are the same."""
    what = {"attacks": "fgsm,fgm_l2", "sequence": "fgsm,fgm_l2", "shots": [0, 1]}
    here, there = (
        fill_with(team, tmp_path / team.executor, **what)
        for team in (Team("here"), Team("processes", 2))
    )
    assert here.ended == there.ended == {"done": 6}
    for one, other in zip(here.records, there.records, strict=True):
        assert one.outcome == other.outcome


def test_the_unit_of_work_is_what_is_shown():
    plan = tiny_plan("fgsm,fgm_l2", shown="each", shots=[0, 1, 2])
    groups = by_group(plan.cells)
    assert [{cell.arrivals for cell in group} for group in groups] == [{("fgsm",)}, {("fgm_l2",)}]
    assert len({group_name(group[0]) for group in groups}) == 2
    assert sum(map(len, groups)) == len(plan.cells) == 2 + 2 * 2 * 2


def test_the_estimate_is_no_less_than_what_a_run_counts(tmp_path):
    plan = tiny_plan("fgsm,fgm_l2", sequence="fgsm,fgm_l2", shots=[0, 1], limit=20, steps=2)
    counted = sum(
        record.cost.forwards + record.cost.backwards for record in run(plan, tmp_path).records
    )
    assert 0 < counted <= sum(cost(cell, plan) for cell in plan.cells)
