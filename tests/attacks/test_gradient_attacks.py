"""FGSM and PGD against closed forms and another library."""

from __future__ import annotations

import pytest
import torch
from attack_tasks import dealt
from tiny_runs import prepare, tiny_plan

from attacks.build import build_attack
from attacks.engine.losses import margin_loss
from attacks.gradient import FGML2, PGDL1, PGDL2, FGSMLinf, PGDLinf, PGDLinfMargin
from attacks.noise import GaussianNoise, UniformNoise
from benchmark.contracts.toys import conv_net, linear_task, some_images
from benchmark.core.errors import UsageError
from benchmark.core.seeding import stream
from benchmark.core.types import Batch, NormBall
from benchmark.evaluation.verdicts import Meter, correct, run_attack, survives

EPS = {"linf": 0.15, "l2": 0.7, "l1": 3.0}
PGDS = {"linf": PGDLinf, "l2": PGDL2, "l1": PGDL1}


# Closed form.


def broken(attack, task, goal):
    images = run_attack(
        attack,
        task.model,
        task.batch,
        goal,
        Meter(),
        dealt(task.batch.labels, "closed"),
    ).images
    return ~correct(task.model, Batch(images, task.batch.labels))


@pytest.mark.parametrize("goal", ["examples", "verdict"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize(("norm", "share"), [("linf", 1.0), ("l2", 0.99), ("l1", 0.95)])
def test_pgd_reaches_the_closed_form_and_does_not_beat_it(norm, share, loss, goal):
    task = linear_task(NormBall(norm, EPS[norm]), n=60)
    found = broken(PGDS[norm](EPS[norm], steps=40, loss=loss), task, goal)
    assert not found[task.ratio > 1].any()
    assert found[task.ratio < share].all()
    assert 20 < int(found.sum()) < 40


@pytest.mark.parametrize("attack", [FGSMLinf(0.15), FGML2(0.7), FGSMLinf(0.15, loss="dlr")])
def test_one_step_is_enough_on_a_linear_model(attack):
    task = linear_task(attack.threat, n=60)
    assert torch.equal(broken(attack, task, "examples"), task.ratio < 1)


class Loud(torch.nn.Module):
    """The same predictions; a softmax of them is 0 or 1."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return 1e4 * self.network(images)


def test_the_margin_sees_where_the_cross_entropy_has_no_gradient_left():
    task = linear_task(NormBall("linf", 0.15))
    task = task._replace(model=Loud(task.model).eval())
    assert not broken(PGDLinf(0.15), task, "examples")[task.ratio < 1].all()
    assert broken(PGDLinfMargin(0.15), task, "examples")[task.ratio < 1].all()


def test_margin_loss_is_the_published_one():
    apgd = pytest.importorskip("torchattacks").APGD(conv_net((1, 8, 8), 10))
    logits = torch.randn(200, 10, generator=stream("logits"))
    labels = torch.randint(10, (200,), generator=stream("labels"))
    found = margin_loss(logits, labels)
    assert torch.allclose(found, apgd.dlr_loss(logits, labels), atol=1e-5)
    assert torch.allclose(found, margin_loss(1000 * logits + 7, labels), atol=1e-4)
    assert ((found > 0) == (logits.argmax(dim=1) != labels)).all()


def test_two_classes_have_a_margin_without_a_third_logit():
    logits, labels = torch.tensor([[3.0, 1.0], [0.5, 2.0]]), torch.tensor([0, 0])
    assert margin_loss(logits, labels).tolist() == [-2.0, 1.5]


# Two goals.


@pytest.mark.parametrize(
    "attack",
    [
        PGDLinf(0.03, steps=5), PGDLinf(0.03, steps=5, restarts=3), PGDLinfMargin(0.03, steps=5),
        PGDL2(0.1, steps=5), PGDL1(0.5, steps=5), FGSMLinf(0.03), FGML2(0.1),
        UniformNoise(0.2, draws=5), GaussianNoise(1.0, draws=5),
    ],
    ids=lambda attack: attack.name,
)  # fmt: skip
def test_examples_and_verdicts_break_the_same_images(attack):
    model = conv_net((1, 8, 8), 10)
    batch = some_images(model, (1, 8, 8), 100, wrong=5)
    examples, verdicts = (
        ~correct(
            model,
            Batch(
                run_attack(
                    attack, model, batch, goal, Meter(), dealt(batch.labels, "goals")
                ).images,
                batch.labels,
            ),
        )
        for goal in ("examples", "verdict")
    )
    assert torch.equal(examples, verdicts)
    assert 5 < int(examples.sum()) < 100, "some broken, some not: or the test says nothing"


def test_a_verdict_costs_less_where_images_break():
    model = conv_net((1, 8, 8), 10)
    batch, attack = some_images(model, (1, 8, 8), 100), PGDLinf(0.1)
    costs = {}
    for goal in ("examples", "verdict"):
        meter = Meter()
        run_attack(attack, model, batch, goal, meter, dealt(batch.labels, "goals"))
        costs[goal] = meter.forwards + meter.backwards
    assert costs["examples"] == 100 * attack.passes
    assert costs["verdict"] < costs["examples"] / 2


def test_more_restarts_break_no_fewer():
    model = conv_net((1, 8, 8), 10)
    batch = some_images(model, (1, 8, 8), 100)
    one, five = (
        survives(
            UniformNoise(0.2, draws=draws),
            model,
            batch,
            Meter(),
            dealt(batch.labels, "draws"),
        )[0]
        for draws in (1, 5)
    )
    assert not (five & ~one).any()


# Another library, on a trained network.


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    plan = tiny_plan(defenses="standard[epochs=8]", shots=[0])
    prepared = prepare(plan, tmp_path_factory.mktemp("trained"))
    return prepared.model(plan.cells[0]).network, prepared.dataset(plan.cells[0]).test.first(
        200
    ).batch()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("pgd_linf[eps=0.04]", "ta_pgd_linf[eps=0.04]"),
        ("pgd_linf[eps=0.08]", "ta_pgd_linf[eps=0.08]"),
        ("pgd_l2[eps=0.3]", "ta_pgd_l2[eps=0.3]"),
        ("pgd_linf_dlr[eps=0.08]", "apgd_linf[eps=0.08,loss=dlr]"),
        ("fgsm[eps=0.05]", "ta_fgsm[eps=0.05]"),
    ],
)
def test_robust_accuracy_agrees_with_torchattacks(trained, ours, theirs):
    model, batch = trained
    accuracy = []
    for spec in (ours, theirs):
        verdicts, _ = survives(
            build_attack(spec, {}), model, batch, Meter(), dealt(batch.labels, spec)
        )
        accuracy.append(float(verdicts.float().mean()))
    assert accuracy[0] == pytest.approx(accuracy[1], abs=0.02)
    assert 0.05 < accuracy[0] < float(correct(model, batch).float().mean()) - 0.05


def test_stronger_budgets_break_more(trained):
    model, batch = trained
    accuracy = [
        float(
            survives(PGDLinf(eps), model, batch, Meter(), dealt(batch.labels, "eps"))[0]
            .float()
            .mean()
        )
        for eps in (0.0, 0.03, 0.06, 0.12, 0.5)
    ]
    assert accuracy == sorted(accuracy, reverse=True)
    assert accuracy[0] == float(correct(model, batch).float().mean())
    assert accuracy[-1] <= 0.1


def test_a_size_nobody_gave_is_asked_for():
    with pytest.raises(UsageError, match=r"pgd_linf needs eps.*pgd_linf\[eps=VALUE\]"):
        build_attack("pgd_linf", {})
