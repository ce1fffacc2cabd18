"""The attacker who knows the rule: made of the other draws alone, and computed here by hand."""

import pandas as pd
import pytest
import torch
from tiny_runs import run, tiny_plan
from torch.nn.functional import cross_entropy

from benchmark.evaluation.verdicts import Meter
from benchmark.protocol.group import adapt_to
from reports.leaderboard.table import board
from reports.summary.page import summary
from reports.tidy.aggregate import headline, views
from reports.tidy.frame import from_records

ATTACKS = "fgsm,rotation_translation[angles=5,shifts=3]"


def plan(episodes=3):
    return tiny_plan(attacks=ATTACKS, shots=[0, 2], episodes=episodes, limit=60)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    return run(plan(), tmp_path_factory.mktemp("rule"), rule=True)


def of(found, attack, shots):
    (one,) = (
        record for record in found.records
        if record.cell.attack.startswith(attack) and record.cell.budget.shots == shots
    )  # fmt: skip
    return one


def fast_gradient(model, images, labels, eps):
    images = images.clone().requires_grad_()
    cross_entropy(model(images), labels, reduction="sum").backward()
    return (images + eps * images.grad.sign()).clamp(0, 1).detach()


def test_it_is_what_examples_on_the_models_of_the_other_episodes_leave(asked):
    cell = of(asked, "fgsm", 2).cell
    inputs = asked.prepared.inputs(cell)
    draws = tuple((cell, index) for index in range(cell.episodes))
    models = [one.model for one in adapt_to(draws, cell.arrivals, inputs, {}, Meter())]
    images, labels = inputs.query(cell.limit)
    eps = inputs.attacks["fgsm"].eps
    crafted = [fast_gradient(model, images, labels, eps) for model in models]
    found = of(asked, "fgsm", 2).outcome.rule.unpack()
    for index, model in enumerate(models):
        held = model(images).argmax(dim=1) == labels
        for other, attacked in enumerate(crafted):
            if other != index:
                held &= model(attacked).argmax(dim=1) == labels
        assert (torch.from_numpy(found[index]) == held).float().mean() >= 0.98
    assert 0 < found.sum() < found.size


def test_all_else_in_the_records_is_as_without(asked, tmp_path):
    usual = run(plan(), tmp_path)
    for with_rule, without in zip(asked.records, usual.records, strict=True):
        assert without.outcome.rule is None
        assert with_rule.outcome.model_copy(update={"rule": None}) == without.outcome
        adapts = with_rule.cell.budget.adapts
        assert (with_rule.outcome.rule is not None) == adapts
        assert (with_rule.cost.forwards > without.cost.forwards) == adapts


def test_one_draw_has_no_others(tmp_path):
    alone = run(plan(episodes=1), tmp_path, rule=True)
    assert all(record.outcome.rule is None for record in alone.records)


def test_records_without_it_are_made_again_and_records_with_it_stay(tmp_path):
    first = run(plan(), tmp_path)
    assert first.ended == {"done": 4}
    assert run(plan(), tmp_path, rule=True).ended == {"done": 2, "cached": 2}
    assert run(plan(), tmp_path).ended == {"cached": 4}


def test_tables_say_over_how_many_attacks_it_is(asked):
    table = headline(from_records(asked.records))
    whole = table[(table["scope"] == "all") & (table["over"] == "union")].set_index("shots")
    rules = [of(asked, name, 2).outcome.rule.unpack() for name in ("fgsm", "rotation")]
    assert whole.loc[2, "robust_rule"] == pytest.approx((rules[0] & rules[1]).mean())
    assert whole["robust_rule"].isna()[0] and pd.isna(whole.loc[0, "ruled"])
    assert whole.loc[2, "ruled"] == 2
    one_lacks_it = [
        record.model_copy(
            update={"outcome": record.outcome.model_copy(update={"rule": None})}
        ) if record.cell.attack == "fgsm" else record
        for record in asked.records
    ]  # fmt: skip
    for over, expected in (("union", rules[1]), ("family mean", rules[1])):
        table = headline(from_records(one_lacks_it))
        table = table[(table["scope"] == "all") & (table["over"] == over)].set_index("shots")
        assert table.loc[2, "robust_rule"] == pytest.approx(expected.mean())
        assert table.loc[2, "ruled"] == 1
    page = summary(from_records(one_lacks_it), views(from_records(one_lacks_it)))
    assert f"{100 * rules[1].mean():.1f} (" in page and " of 1 |" in page


def test_where_a_suite_gives_one_draw_the_others_still_count(tmp_path):
    """As the main suite does with costly attacks."""
    costly = run(
        tiny_plan(attacks="fgsm", shots=[2], episodes=1, limit=60), tmp_path / "one", rule=True
    )
    several = run(
        tiny_plan(attacks=ATTACKS.partition(",")[2], shots=[2], episodes=3, limit=60),
        tmp_path / "three", rule=True,
    )  # fmt: skip
    frame = from_records([*costly.records, *several.records])
    table = headline(frame)
    whole = table[(table["scope"] == "all") & (table["over"] == "union")].set_index("shots")
    first = of(several, "rotation", 2).outcome.rule.unpack()[:1]
    assert whole.loc[2, "robust_rule"] == pytest.approx(first.mean())
    assert (whole.loc[2, "ruled"], whole.loc[2, "attacks"]) == (1, 2)
    board_line = board(frame).set_index(["threat", "shots"]).loc["all", 2]
    assert board_line["ruled"] == 1
