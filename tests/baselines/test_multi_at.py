"""Training on a pool of attacks: average, worst, random, and E-AT, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from defense_tasks import (
    DIGITS,
    build,
    few,
    fit,
    linear,
    loss_of,
    softmax,
)

from attacks.build import build_attack
from baselines.e_at import RobustErrors
from baselines.training.attack_pool import POOL, pool
from baselines.training.ledger import Ledger
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.types import Batch

# Several attacks.


def shifting(monkeypatch, shifts):
    """`Ledger.perturb` adds a number to the images, by the name of the attack."""
    used = []

    def perturb(self, attack, model, batch, rng):
        used.append(attack.name)
        return Batch(batch.images + shifts[attack.name], batch.labels)

    monkeypatch.setattr(Ledger, "perturb", perturb)
    return used


SHIFTS = {"pgd_linf": 0.2, "pgd_l2": -0.2, "pgd_l1": 0.05}


@pytest.mark.parametrize("how", ["average", "worst"])
def test_the_loss_over_several_attacks_is_its_formula(monkeypatch, how):
    shifting(monkeypatch, SHIFTS)
    model, batch = linear(), few(9)
    found = loss_of(f"multi_at[how={how},attacks=pgd_linf+pgd_l2+pgd_l1]")(model, batch)
    rows = []
    for x, y in zip(batch.images, batch.labels.tolist(), strict=True):
        logits = [model((x + shift)[None])[0].tolist() for shift in SHIFTS.values()]
        rows.append([-math.log(softmax(z)[y]) for z in logits])
    assert len({row.index(max(row)) for row in rows}) > 1, "no attack is the worst for all"
    per_image = [max(row) if how == "worst" else sum(row) / 3 for row in rows]
    assert found.item() == pytest.approx(sum(per_image) / 9, rel=1e-4)
    batchwise = max(sum(column) / 9 for column in zip(*rows, strict=True))
    assert how == "average" or found.item() > batchwise + 1e-4, "the maximum of each image"


def test_at_random_one_attack_meets_each_batch(monkeypatch):
    used = shifting(monkeypatch, SHIFTS)
    loss = loss_of("multi_at[how=random]")
    for turn in range(400):
        loss(linear(), few())
        assert len(used) == turn + 1
    assert used.count("pgd_linf") / 400 == pytest.approx(0.5, abs=0.1)
    assert set(used) == set(POOL.split("+"))


@pytest.mark.parametrize("name", ["multi_at", "e_at"])
def test_the_pool_is_that_of_the_data_set_and_all_of_it_counts_as_seen(name):
    attacks = build(f"{name}[attacks=fgsm+pgd_l2,attack_steps=3]").training_attacks(DIGITS)
    assert attacks == (build_attack("fgsm", DIGITS), build_attack("pgd_l2[steps=3]", DIGITS))
    assert attacks == pool("fgsm+pgd_l2", 3, DIGITS)
    assert fit(f"{name}[epochs=1,attacks=fgsm+pgd_l2+pgd_l1]", n=60).trained_on == {
        "linf-gradient", "l2-gradient", "l1-gradient",
    }  # fmt: skip
    with pytest.raises(UsageError, match="did you mean pgd_l2"):
        build(f"{name}[attacks=fgsm+pgd_l22]").training_attacks(DIGITS)


def test_all_with_a_pool_have_the_same_one():
    used = {name: build(name).training_attacks(DIGITS) for name in ("multi_at", "e_at", "meta_adv")}
    assert len(set(used.values())) == 1


# E-AT.


def test_chances_are_in_proportion_to_the_running_robust_error():
    running = RobustErrors(3, 0.5, Ledger())
    assert running.chances().tolist() == pytest.approx([1 / 3] * 3)
    running.note(0, torch.tensor([True, False, False, False]))  # (1 + 0.25) / 2
    running.note(1, torch.tensor([False, False]))  # 1 / 2, then 1 / 4
    running.note(1, torch.tensor([False, False]))
    errors = [0.625, 0.25, 1.0]
    assert running.chances().tolist() == pytest.approx([e / sum(errors) for e in errors])
    drawn = [running.draw(stream("draw", turn)) for turn in range(3000)]
    for attack, error in enumerate(errors):
        assert drawn.count(attack) / 3000 == pytest.approx(error / sum(errors), abs=0.03)


def test_a_weight_of_the_past_above_1_is_refused():
    with pytest.raises(UsageError, match=r"e_at\[memory=1.5\]: expected a weight up to 1"):
        build("e_at[memory=1.5]")


def test_chances_are_equal_where_nothing_breaks():
    running = RobustErrors(2, 0.0, Ledger())
    for attack in range(2):
        running.note(attack, torch.zeros(4, dtype=torch.bool))
    assert running.chances().tolist() == [0.5, 0.5]
    assert {running.draw(stream("even", turn)) for turn in range(20)} == {0, 1}


def test_the_harmful_attack_is_drawn_more_often(monkeypatch):
    """Of 3 classes, shifted far: one attack leaves the labels right, the other makes all wrong."""
    used = shifting(monkeypatch, {"pgd_linf": 0.0, "pgd_l2": 100.0})
    model, batch = linear(), few(12)
    labels = model(batch.images).argmax(dim=1)
    loss = loss_of("e_at[memory=0.5]", stream("harm"))
    for _ in range(200):
        loss(model, Batch(batch.images, labels))
    wrong = float((model(batch.images + 100.0).argmax(dim=1) != labels).float().mean())
    assert wrong > 0.5
    assert used[20:].count("pgd_l2") > 170
