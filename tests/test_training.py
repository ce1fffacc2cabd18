"""The training loop and its ledger."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from attack_tasks import dealt
from torch import nn

from attacks.strengths import build_attack, strengths_of
from baselines import DEFENSES
from baselines.training import Ledger, Schedule, classification_loss, train
from benchmark import datasets
from benchmark.core.errors import AuditError
from benchmark.core.seeding import stream
from benchmark.core.specs import Spec
from benchmark.data import minibatches
from benchmark.defense_subject import network_for
from benchmark.evaluation import Meter, frozen, survives
from benchmark.toys import conv_net


def split(n=150):
    return datasets.load("digits", None, False, 0).train.first(n)


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
    assert trained.passes == passes
    assert not trained.model.training


def test_adversarial_training_is_more_robust_than_standard():
    attack = build_attack("pgd_linf[eps=0.1,steps=10]", {})
    test = datasets.load("digits", None, False, 0).test.first(200).batch()
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
