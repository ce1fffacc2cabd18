"""Negative controls: ways to look robust, or to look adapted, that must turn red."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from shutil import rmtree
from typing import ClassVar

import pytest
import torch
from tiny_runs import run, tiny_plan
from torch import nn
from torch.nn.functional import interpolate

from attacks.gradient import PGDLinf
from attacks.strengths import build_attack, strengths_of
from baselines import adaptation, meta_adv
from baselines.adaptation import Adapted, inner_loop, task_loss, with_parameters
from baselines.meta_adv import MetaSettings, Task, outer_loss
from baselines.standard import Standard
from baselines.training import Ledger, Schedule, classification_loss, train
from benchmark import data, datasets, runner
from benchmark.core.seeding import stream
from benchmark.core.types import Batch, Defense, Trained
from benchmark.defense_contract import check_defense
from benchmark.toys import conv_net
from reports.frame import from_records
from reports.headline import headline

# An adaptation that changes nothing.


def untouched_copy(model, parameters):
    """The published bug: what is evaluated is a copy that the adaptation never reached."""
    return deepcopy(model)


def trained_one(model, budget, show):
    """Says that it moved, gives back the trained model."""
    return Adapted(model, 0.1, (1.0, 0.5))


def test_a_learning_rate_too_small_to_move_anything_fails(tmp_path):
    done = run(tiny_plan(shots=[1], lr=1e-12), tmp_path)
    assert done.ended == {"failed": 1}
    assert "adaptation changed nothing" in done.only(shots=1).reason


@pytest.mark.parametrize(
    ("module", "name", "fake"),
    [(adaptation, "with_parameters", untouched_copy), (runner, "adapt", trained_one)],
)
def test_an_adaptation_that_changes_nothing_fails(tmp_path, monkeypatch, module, name, fake):
    monkeypatch.setattr(module, name, fake)
    done = run(tiny_plan(), tmp_path)
    assert done.ended == {"done": 1, "failed": 1}
    assert "adaptation changed nothing" in done.only(shots=1).reason
    assert done.only(shots=1).outcome is None


# A query loss without gradient: the outer gradient must depend on the query, through the inner
# loop. That is what the probe asks; it must say no to a query scored on a copy.

SETTINGS = MetaSettings(
    iterations=1, tasks=1, shots=1, query=1, inner_steps=2, inner_lr=0.5, outer_lr=0.1,
    first_order=False, clean_weight=0.5,
)  # fmt: skip


def outer_gradient(loss, query_seed, first_order=False):
    model = conv_net((1, 8, 8), 4)
    rng = stream("probe", query_seed)
    images = torch.rand(8, 1, 8, 8, generator=stream("support"))
    support = Batch(images, torch.arange(8) % 4)
    query = Batch(torch.rand(8, 1, 8, 8, generator=rng), torch.arange(8) % 4)
    task = Task(build_attack("fgsm", strengths_of("digits")), support, query)
    settings = SETTINGS._replace(first_order=first_order)
    value = loss(model, task, settings, Ledger(), rng)
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def learns_from_the_query(loss):
    """Protocols A4: the outer gradient changes when the query does, and is not zero."""
    try:
        first, second = (outer_gradient(loss, seed) for seed in (1, 2))
    except RuntimeError as error:
        assert "does not require grad" in str(error), "fails for this reason and no other"
        return False
    return bool(first.norm() > 1e-6 and (first - second).norm() > 1e-6 * first.norm())


def query_on_a_copy(model, task, settings, ledger, rng):
    """Adapts, then scores a frozen copy: the loss is a number, not a function of the weights."""
    start = dict(model.named_parameters())
    adapted = inner_loop(model, start, lambda _: task.support, settings.inner_steps, 0.5, False)
    copy = with_parameters(model, {name: tensor.detach() for name, tensor in adapted.items()})
    return classification_loss(copy.requires_grad_(False), task.query)


def support_only(model, task, settings, ledger, rng):
    """Its gradient is there, but it is that of the support."""
    return task_loss(model, dict(model.named_parameters()), task.support)


def test_the_query_reaches_the_weights_through_the_inner_loop():
    assert learns_from_the_query(outer_loss)
    second, first = (outer_gradient(outer_loss, 1, first_order) for first_order in (False, True))
    assert (second - first).norm() > 1e-3 * second.norm(), "first order drops second derivatives"


@pytest.mark.parametrize("loss", [query_on_a_copy, support_only])
def test_a_query_loss_without_gradient_is_seen(loss):
    assert not learns_from_the_query(loss)


def test_meta_training_with_a_query_loss_without_gradient_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(meta_adv, "outer_loss", query_on_a_copy)
    defense = "meta_adv[warmup_epochs=1,iterations=1,tasks=1]"
    done = run(tiny_plan(defenses=defense, shots=[0]), tmp_path)
    assert done.ended == {"failed": 1}
    assert "does not require grad" in done.records[0].reason


# Static scoring passed off as re-attack.


def test_attacking_the_trained_model_again_is_no_reattack(tmp_path, monkeypatch):
    genuine, plan = runner.survives, tiny_plan()
    trained = {}

    def keep(model, budget, show):
        trained["model"] = model
        return adaptation.adapt(model, budget, show)

    def static_again(attack, model, batch, meter, rng):
        return genuine(attack, trained["model"], batch, meter, rng)

    monkeypatch.setattr(runner, "adapt", keep)
    monkeypatch.setattr(runner, "survives", static_again)
    done = run(plan, tmp_path)
    assert done.ended == {"done": 1, "failed": 1}
    assert "another model than the adapted" in done.only(shots=1).reason


# Support leaking into query.


def test_showing_scored_images_fails(tmp_path, monkeypatch):
    test = datasets.load("digits", None, False, 0).test
    genuine = data.draw_support
    monkeypatch.setattr(data, "draw_support", lambda split, *rest: genuine(test, *rest))
    done = run(tiny_plan(limit=None), tmp_path)
    assert done.ended == {"done": 1, "failed": 1}
    assert "support and query must be disjoint" in done.only(shots=1).reason


# A train/unseen family leak.


@dataclass(frozen=True)
class Leaky(Defense):
    """Says it trains on nothing, trains on PGD."""

    name: ClassVar[str] = "leaky"

    def fit(self, network, train_split, strengths, progress, rng):
        ledger, attack = Ledger(), build_attack("pgd_linf[steps=1]", strengths)

        def loss(model, batch):
            return classification_loss(model, ledger.perturb(attack, model, batch, rng))

        train(network, train_split.first(100), loss, Schedule(1), ledger, progress, rng)
        return ledger.trained(network)


def test_a_family_that_was_trained_on_is_not_unseen_whatever_is_declared(tmp_path):
    assert Leaky().families(strengths_of("digits")) == frozenset()
    plan = tiny_plan("fgsm,fgm_l2", {"standard": Leaky()}, shots=[0])
    fresh = run(plan, tmp_path)
    rmtree(tmp_path / "records")
    kept = run(plan, tmp_path)  # weights, and what they saw, come from the folder
    assert (len(fresh.log.trained), len(kept.log.trained)) == (1, 0)
    for record in (*fresh.records, *kept.records):
        assert record.trained_on == ["linf-gradient"]
        assert record.unseen == (record.cell.attack == "fgm_l2")


def test_the_contract_names_a_family_leak():
    failed = [check for check in check_defense(Leaky(), "digits") if check.status == "failed"]
    assert [check.name for check in failed] == ["plans what it trains on"]
    assert "expected families none, as planned, got linf-gradient" in failed[0].message


# Attacks over budget, or broken.


@dataclass(frozen=True)
class OverBudget(PGDLinf):
    """Twice as far as it says."""

    def perturb(self, model, images, labels, goal, rng):
        return (images + 2 * self.eps).clamp(0, 1)


@dataclass(frozen=True)
class Crashing(PGDLinf):
    """Meets a model it cannot handle."""

    def perturb(self, model, images, labels, goal, rng):
        raise ZeroDivisionError("no idea")


@dataclass(frozen=True)
class Spoiling(PGDLinf):
    """Makes the model it attacks worse for everybody after it."""

    def perturb(self, model, images, labels, goal, rng):
        with torch.no_grad():
            next(model.parameters()).mul_(0.5)
        return images


@dataclass(frozen=True)
class Waking(PGDLinf):
    """Leaves the model in train mode."""

    def perturb(self, model, images, labels, goal, rng):
        model.train()
        return images


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The records of FGSM with nobody before it."""
    return run(tiny_plan("fgsm"), tmp_path_factory.mktemp("alone")).records


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (OverBudget(0.1), "pgd_linf left its budget (linf 0.1) on"),
        (Crashing(0.1), "ZeroDivisionError: no idea (test_controls.py:"),
        (Spoiling(0.1), "pgd_linf changed the weights or buffers"),
        (Waking(0.1), "pgd_linf left the model in train mode"),
    ],
)
def test_a_broken_attack_fails_its_cells_and_no_others(tmp_path, undisturbed, broken, reason):
    plan = tiny_plan({"pgd_linf": broken, "fgsm": build_attack("fgsm", strengths_of("digits"))})
    done = run(plan, tmp_path)
    assert [record.cell.attack for record in done.records] == ["pgd_linf"] * 2 + ["fgsm"] * 2
    assert [record.status for record in done.records] == ["failed", "failed", "done", "done"]
    for record in done.records[:2]:
        assert reason in record.reason
        assert record.outcome is None
    frame = from_records(done.records)
    assert frame["robust"].isna().tolist() == [True, True, False, False]
    for record, alone in zip(done.records[2:], undisturbed, strict=True):
        assert record.outcome == alone.outcome, "what came before left no trace"


def test_what_crashed_runs_again_next_time_and_nothing_else_does(tmp_path):
    good = build_attack("fgsm", strengths_of("digits"))
    run(tiny_plan({"pgd_linf": Crashing(0.1), "fgsm": good}), tmp_path)
    mended = run(tiny_plan({"pgd_linf": PGDLinf(0.1, steps=2), "fgsm": good}), tmp_path)
    assert mended.ended == {"done": 2, "cached": 2}
    assert not mended.log.notes, "a failed record is no stale record"


# A model that masks its gradients.


class Quantised(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network((images * 16).round() / 16)


class Loud(Quantised):
    def forward(self, images):
        return 1000 * self.network(images)


class Resizing(Quantised):
    def forward(self, images):
        size = int(torch.randint(9, 13, ()))
        small = interpolate(images, size=(size, size), mode="bilinear")
        return self.network(interpolate(small, size=(8, 8), mode="bilinear"))


class Softmaxed(Quantised):
    def forward(self, images):
        return self.network(images).softmax(dim=1)


@dataclass(frozen=True)
class Masked(Defense):
    """Standard training behind a wrapper that hides the gradient."""

    name: ClassVar[str] = "masked"
    wrapper: type = Quantised

    def fit(self, network, train_split, strengths, progress, rng):
        trained = Standard(epochs=6).fit(network, train_split, strengths, progress, rng)
        return Trained(self.wrapper(trained.model), trained.trained_on)


@pytest.mark.parametrize(
    ("wrapper", "flag"),
    [
        (Quantised, "zero gradients: 100% of images"),
        (Loud, "zero gradients: "),
        (Resizing, "randomised: "),
        (Softmaxed, "probabilities: "),
    ],
)
def test_a_model_that_masks_gradients_is_flagged_in_its_records(tmp_path, wrapper, flag):
    done = run(tiny_plan(defenses={"standard": Masked(wrapper)}), tmp_path)
    assert done.records[0].status == "done"
    assert done.records[0].flags[0].startswith(flag)
    contract = check_defense(Masked(wrapper), "digits")
    assert any(check.status == "failed" for check in contract), "the contract sees it too"


def test_an_honest_model_is_not_flagged(tmp_path):
    assert run(tiny_plan(defenses="standard[epochs=6]"), tmp_path).records[0].flags == []


def test_masking_looks_robust_until_an_attack_needs_no_gradient(tmp_path):
    """What the flag is for: the quantiser beats PGD and loses to queries of the same size."""
    attacks = "pgd_linf[eps=0.25,steps=10],square[eps=0.25,queries=300]"
    plan = tiny_plan(attacks, {"standard": Masked()}, shots=[0])
    gradient, queries = run(plan, tmp_path).records
    robust = [record.outcome.before.unpack().mean() for record in (gradient, queries)]
    assert robust[0] > robust[1] + 0.3


# A missing cell.


def test_a_missing_cell_leaves_its_row_incomplete(tmp_path):
    plan = tiny_plan("fgsm,fgm_l2", "standard[epochs=2],pgd_at[epochs=1]", shots=[0])
    done = run(plan, tmp_path)
    whole = headline(from_records(done.records))
    assert set(whole["status"]) == {"done"}
    torn = headline(from_records([record for record in done.records[:3] if record]))
    holed = torn[torn["defense"].str.startswith("pgd_at") & (torn["scope"] == "all")]
    assert set(holed["status"]) == {"missing"}
    assert holed["robust"].isna().all()
    assert holed["rank"].isna().all()
