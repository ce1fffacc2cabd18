"""What a plan makes of `--shown` and `--sequence`."""

from __future__ import annotations

import pytest
from tiny_runs import tiny_plan

from benchmark.core.errors import UsageError
from benchmark.plan import make_plan
from benchmark.requests import Suite, make_request


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
