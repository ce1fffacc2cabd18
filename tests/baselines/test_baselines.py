"""Defenses that are a loss: what they cost, equal budgets, and that they defend."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from attack_tasks import dealt
from defense_tasks import (
    build,
    fit,
    split,
    with_options,
)

from attacks.gradient import PGDLinf
from baselines.training.ledger import Ledger
from baselines.training.loop import classification_loss, train
from baselines.training.schedule import Schedule
from benchmark.contracts.defense_probe import network_for
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.data import load

# Equal budgets.

PASSES = {
    "standard": 2, "pgd_at": 17, "trades": 19, "fgsm_rs": 4, "free": 2, "multi_at": 34,
    "multi_at[how=worst]": 34, "multi_at[how=random]": 17, "e_at": 17,
}  # fmt: skip
"""Of one image in one update, counted by hand: forward + backward, attack then loss."""


@pytest.mark.parametrize(("text", "passes"), PASSES.items())
def test_an_update_costs_what_the_paper_says(text, passes):
    cost = fit(with_options(text, epochs=1)).cost
    assert cost.passes == passes * cost.images


@pytest.mark.parametrize("text", PASSES)
def test_equal_budgets_end_within_one_batch(text):
    budget, most = 6000, 64 * max(PASSES.values())
    ended = fit(with_options(text, passes=budget)).cost.passes
    assert budget <= ended < budget + 64 * PASSES[text] <= budget + most


@pytest.mark.parametrize("start", ["", "pgd_at"])
def test_meta_training_keeps_its_budget_to_one_iteration(start):
    """One iteration alone says what one costs; half of the budget is warm-up, without a start."""
    short = "meta_adv[tasks=1,shots=1,query=1,attack_steps=2,warmup_epochs=0,iterations=1]"
    (single,) = {fit(with_options(short, start="pgd_at")).cost.passes}
    options = {"passes": 9 * single, "tasks": 1, "shots": 1, "query": 1, "attack_steps": 2}
    cost = fit(with_options("meta_adv", **options, **({"start": start} if start else {}))).cost
    assert 9 * single <= cost.passes < 10 * single + 64 * 7
    assert cost.updates == 9 if start else cost.updates > 4


@pytest.mark.parametrize("name", ["trades", "fgsm_rs", "free", "multi_at"])
def test_by_default_training_costs_what_pgd_at_costs(name):
    """Epochs x replays x passes of one update."""
    schedule, reference = build(name), build("pgd_at")
    cost = schedule.epochs * schedule.replays * PASSES[name]
    assert cost == pytest.approx(reference.epochs * PASSES["pgd_at"], rel=0.015)


def test_quick_fine_tuning_is_quick():
    defense = build("e_at")
    assert defense.start == "pgd_at"
    assert defense.epochs * PASSES["e_at"] < 0.1 * build("pgd_at").epochs * PASSES["pgd_at"]


@pytest.mark.parametrize("option", ["batch_size=0", "epochs=-1", "passes=-5", "lr=-1", "ramp=-1"])
def test_numbers_that_train_nothing_are_refused(option):
    with pytest.raises(UsageError, match="expected at least"):
        build(f"pgd_at[{option}]")


# What they are for.


@cache
def robust_after(text):
    """Share of 200 test images that 10 steps of PGD in linf 0.1 leave correct; 40,000 passes."""
    test = load.load("digits", None, False, 0).test.first(200).batch()
    model = fit(with_options(text, passes=40_000), 500).model
    images = PGDLinf(0.1, steps=10).perturb(model, *test, "verdict", dealt(test.labels, "compare"))
    return float((model(images).argmax(dim=1) == test.labels).float().mean())


@pytest.mark.parametrize("text", ["trades", "fgsm_rs", "free", "multi_at[attack_steps=2]"])
def test_it_is_more_robust_than_standard_training_at_the_same_cost(text):
    assert robust_after(text) > robust_after("standard") + 0.05


def test_a_schedule_without_budget_or_epochs_trains_nothing():
    model = network_for("digits")
    before = deepcopy(model.state_dict())
    train(model, split(), classification_loss, Schedule(0), Ledger(), lambda s: None, stream("0"))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
