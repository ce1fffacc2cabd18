"""What records say against an adapted model, from verdicts written by hand."""

import numpy as np
import pytest
from report_records import outcome, record, verdicts
from tiny_runs import run, tiny_plan

from benchmark.audit.adaptation import adaptation
from benchmark.core.errors import AuditError
from benchmark.protocol.integrity import check_moved
from benchmark.results.records import Outcome

N = 100


def right(*counts):
    """Tables in which the first images of each row are right."""
    return np.array([[index < count for index in range(N)] for count in counts])


def plain(before=50, static=(55, 55, 55), again=(55, 55, 55), **more) -> Outcome:
    made = outcome(right(before), right(*static), right(*again))
    return made.model_copy(update=more)


def codes(result, **more):
    return [flag.code for flag in adaptation([record(result=result, **more)]).flags]


def test_a_sound_adaptation_has_no_flag_and_all_numbers():
    found = adaptation([record(result=plain(rule=verdicts(right(56, 55, 57))))])
    assert (found.flags, found.skipped) == ([], None)
    assert found.numbers["pgd_linf: gain"] == pytest.approx(0.05)
    assert found.numbers["pgd_linf: inflation"] == pytest.approx(0.0)
    assert found.numbers["pgd_linf: known rule"] == pytest.approx(0.56)
    assert found.numbers["pgd_linf: least moved"] == pytest.approx(0.1)


def test_stored_examples_that_say_too_much():
    made = adaptation([record(result=plain(static=(68, 68, 67)))])
    (flag,) = made.flags
    assert flag.code == "inflation"
    assert flag.value == pytest.approx(0.38 / 3)
    assert flag.message.startswith("pgd_linf: stored examples leave 67.7% right, attacked again 55")
    assert codes(plain(static=(56, 57, 56))) == [], "less than two points"


def test_two_points_by_chance_are_no_finding():
    rng = np.random.default_rng(0)
    static, again = (rng.random((3, N)) < share for share in (0.56, 0.5))
    assert static.mean() - again.mean() > 0.02
    assert codes(outcome(right(50), static, again)) == []


def test_who_knows_the_rule_breaks_more_than_who_attacks():
    assert codes(plain(rule=verdicts(right(30, 31, 30)))) == ["rule"]
    assert codes(plain(rule=verdicts(right(47, 48, 47)))) == [], "within half its interval: 9.6"


def test_a_gain_of_one_draw_alone():
    gone = plain(static=(72, 72, 72), again=(72, 50, 49))
    assert codes(gone) == ["inflation", "draw"]
    assert codes(plain(static=(70,) * 3, again=(70, 70, 66))) == [], "a gain in all of them"
    lucky = plain(static=(52, 50, 50), again=(52, 50, 50))
    assert codes(lucky) == [], "no more than chance"


def test_a_support_loss_that_does_not_fall():
    rising = plain(support_loss=[(1.0, 0.5), (1.0, 1.5), (1.0, 1.0)])
    (flag,) = adaptation([record(result=rising)]).flags
    assert (flag.code, flag.threshold) == ("support loss", 0.9)
    assert flag.value == pytest.approx(1 / 3)


def test_what_did_not_adapt_is_said_by_its_reason(tmp_path, monkeypatch):
    """The message of the protocol itself: a step of no size."""
    done = run(tiny_plan(shots=[1], lr=1e-30), tmp_path)
    (failed,) = (one for one in done.records if one.cell.budget.adapts)
    assert failed.status == "failed"
    (flag,) = adaptation(done.records).flags
    assert flag.code == "adaptation"
    assert flag.kind.broken
    assert "changed nothing" in flag.message


def test_nothing_to_look_at_is_said():
    assert "0 shots" in adaptation([record(shots=0, result=None)]).skipped
    late = record(status="failed", reason="took longer than 1 s")
    assert adaptation([late]).skipped == "pgd_linf: took longer than 1 s"
    assert adaptation([]).flags == []


def test_a_real_run_of_a_plain_network(tmp_path):
    plan = tiny_plan("pgd_linf[steps=5],fgsm", shots=[5], episodes=3, limit=60)
    found = adaptation(run(plan, tmp_path, rule=True).records)
    assert {"rule", "draw", "adaptation", "support loss"}.isdisjoint(
        flag.code for flag in found.flags
    )
    assert found.numbers["fgsm: support loss fell"] == 1.0
    assert found.numbers["fgsm: least moved"] > 1e-4
    assert found.numbers["fgsm: known rule"] is not None


def test_the_check_it_reads_raises_as_it_expects():
    with pytest.raises(AuditError, match=r"^adaptation changed nothing"):
        from torch import nn

        from benchmark.adaptation.adapt import Adapted

        check_moved("", nn.Identity(), Adapted(nn.Identity(), {}, 0.0, (0.0, 0.0)))
