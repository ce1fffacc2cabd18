"""The training loop and its ledger."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch
from attack_tasks import dealt
from torch import nn

from attacks.build import build_attack, strengths_of
from baselines import DEFENSES
from baselines.training import loop
from baselines.training.ledger import Ledger
from baselines.training.loop import classification_loss, train
from baselines.training.schedule import Schedule
from benchmark.contracts.defense_probe import network_for
from benchmark.contracts.toys import conv_net
from benchmark.core.errors import AuditError
from benchmark.core.seeding import stream
from benchmark.core.specs import Spec
from benchmark.data import load
from benchmark.data.splits import minibatches
from benchmark.evaluation.verdicts import Meter, frozen, survives


def split(n=150):
    return load.load("digits", None, False, 0).train.first(n)


def fit(text, n=150, seed=0):
    defense = DEFENSES.build(Spec.parse(text))
    return defense.fit(
        network_for("digits"), split(n), strengths_of("digits"), lambda share: None, stream(seed)
    )


def test_training_is_adam_with_a_cosine():
    ours, shares = network_for("digits"), []
    train(
        ours, split(), classification_loss, Schedule(2, 0.01, 50), Ledger(), shares.append,
        stream("train"),
    )  # fmt: skip
    plain, rng = network_for("digits").train(), stream("train")
    optimizer = torch.optim.Adam(plain.parameters())
    step = 0
    for _ in range(2):
        for batch in minibatches(split(), 50, rng):
            lr = 0.01 * 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / 6)))
            optimizer.param_groups[0]["lr"] = float(lr)
            optimizer.zero_grad()
            classification_loss(plain, batch).backward()
            optimizer.step()
            step += 1
    assert step == 6
    for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert shares == [0.5, 1.0]
    assert ours.training


def test_the_ledger_writes_down_what_was_used():
    ledger, model = Ledger(), conv_net((1, 8, 8), 10).train()
    before = deepcopy(model.state_dict())
    batch, attack = split(20).batch(), build_attack("pgd_l2[steps=2]", strengths_of("digits"))
    attacked = ledger.perturb(attack, model, batch, stream("ledger"))
    assert ledger.families == {"l2-gradient"}
    assert attack.threat.inside(batch.images, attacked.images).all()
    assert torch.equal(attacked.labels, batch.labels)
    assert model.training, "as it was"
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before), "attacked in eval mode"


def test_attacks_grow_to_their_size_over_the_ramp():
    """Of 10 updates with a ramp of 0.4, update i meets i / 4 of eps and of the step, 4 and on all.

    The perturbation is as large as the attack was allowed to be.
    """
    data, ledger, seen = split(50), Ledger(), []
    attack = build_attack("pgd_linf[steps=2,step_size=0.1]", {"pgd_linf": {"eps": 0.1}})

    def loss(model, batch):
        moved = ledger.perturb(attack, model, batch, stream("x")).images - batch.images
        seen.append(float(moved.abs().max()))
        return classification_loss(model, batch)

    schedule = Schedule(10, 0.01, 50, ramp=0.4)
    train(conv_net((1, 8, 8), 10), data, loss, schedule, ledger, print, stream("y"))
    assert seen == pytest.approx([0.1 * min(1, i / 4) for i in range(10)], abs=1e-6)
    assert (attack.eps, attack.step_size) == (0.1, 0.1)


def test_the_ledger_gives_the_mode_back_when_an_attack_crashes():
    class Crash:
        family = "noise"

        def perturb(self, *_):
            raise ZeroDivisionError

    model = conv_net((1, 8, 8), 10).train()
    with pytest.raises(ZeroDivisionError):
        Ledger().perturb(Crash(), model, split(5).batch(), stream("x"))
    assert model.training


@pytest.mark.parametrize(
    ("text", "families", "passes"),
    [
        ("standard[epochs=2]", set(), 2 * 150 * 2),
        ("pgd_at[epochs=1,attack_steps=3]", {"linf-gradient"}, 150 * (2 + 7)),
    ],
)
def test_defenses_are_trained_on_what_they_used(text, families, passes):
    trained = fit(text)
    assert trained.trained_on == families
    assert trained.cost.passes == passes
    assert not trained.model.training


def test_the_ledger_counts_images_updates_and_seconds():
    cost = fit("pgd_at[epochs=2,attack_steps=3,batch_size=64]").cost
    assert (cost.images, cost.updates) == (2 * 150, 2 * 3)
    assert (cost.forwards, cost.backwards) == (300 * (4 + 1), 300 * (3 + 1))
    assert cost.seconds > 0


@pytest.mark.parametrize("passes", [1, 5000, 5001, 12_345])
def test_a_budget_of_passes_ends_training_within_one_batch(passes):
    """One image of standard training costs 2 passes, one of pgd_at with 3 steps 9."""
    standard = fit(f"standard[passes={passes}]").cost.passes
    pgd = fit(f"pgd_at[passes={passes},attack_steps=3]").cost.passes
    assert passes <= standard < passes + 64 * 2
    assert passes <= pgd < passes + 64 * 9


def test_the_learning_rate_falls_with_the_share_of_passes(monkeypatch):
    """300 passes per epoch of 2: half a budget of 1,200 is over after two epochs."""
    rates, genuine = [], loop.descend

    def noting(value, optimizer, when):
        rates.append(optimizer.param_groups[0]["lr"])
        genuine(value, optimizer, when)

    monkeypatch.setattr(loop, "descend", noting)
    shares, schedule = [], Schedule(99, 0.01, 50, passes=1200)
    train(
        network_for("digits"), split(150), classification_loss, schedule, Ledger(),
        shares.append, stream("rate"),
    )  # fmt: skip
    expected = [0.01 * (1 + math.cos(math.pi * step / 12)) / 2 for step in range(12)]
    assert rates == pytest.approx(expected)
    assert shares == [0.25, 0.5, 0.75, 1.0]


def test_a_ledger_may_have_been_used_before():
    """A schedule counts from its own beginning: warm-up does not shorten what follows."""
    ledger, model = Ledger(), network_for("digits")
    for schedule in (Schedule(1, passes=600), Schedule(1, passes=600), Schedule(2)):
        train(
            model, split(150), classification_loss, schedule, ledger, lambda share: None,
            stream("twice"),
        )  # fmt: skip
    assert ledger.passes == 600 + 600 + 600
    assert ledger.updates == 18


def test_replays_update_on_the_same_batch():
    seen = []

    def loss(model, batch):
        seen.append(batch.images)
        return classification_loss(model, batch)

    schedule, ledger = Schedule(1, batch_size=50, replays=3), Ledger()
    train(network_for("digits"), split(150), loss, schedule, ledger, lambda s: None, stream("r"))
    assert len(seen) == ledger.updates == 9
    assert all(torch.equal(seen[i], seen[i - i % 3]) for i in range(9))
    assert not torch.equal(seen[0], seen[3])


def test_adversarial_training_is_more_robust_than_standard():
    attack = build_attack("pgd_linf[eps=0.1,steps=10]", {})
    test = load.load("digits", None, False, 0).test.first(200).batch()
    robust = []
    for text in ("standard[epochs=8]", "pgd_at[epochs=8,attack_steps=3]"):
        model = frozen(fit(text, 1000).model)
        verdicts, _ = survives(attack, model, test, Meter(), dealt(test.labels, "compare"))
        robust.append(float(verdicts.float().mean()))
    assert robust[1] > robust[0] + 0.1


def test_a_loss_that_is_not_finite_stops_training_and_says_where():
    with pytest.raises(AuditError, match=r"diverged: the loss is nan at epoch 1; try a lower"):
        train(
            nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), split(),
            lambda model, batch: classification_loss(model, batch) * float("nan"),
            Schedule(1), Ledger(), lambda share: None, stream("nan"),
        )  # fmt: skip
