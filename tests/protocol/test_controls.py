"""Negative controls: ways to look robust, or to look adapted, that must turn red."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from shutil import rmtree
from typing import ClassVar

import pytest
import torch
from tiny_runs import run, tiny_plan

from attacks.build import build_attack, strengths_of
from attacks.gradient import PGDLinf
from baselines.training.ledger import Ledger
from baselines.training.loop import classification_loss, train
from baselines.training.schedule import Schedule
from benchmark.adaptation import adapt
from benchmark.adaptation.adapt import Adapted
from benchmark.contracts.defense_rules import check_defense
from benchmark.core.types import Defense
from benchmark.data import load, splits
from benchmark.protocol import group
from reports.tidy.aggregate import headline
from reports.tidy.frame import from_records

# An adaptation that changes nothing.


def untouched_copy(model, parameters):
    """The published bug: what is evaluated is a copy that the adaptation never reached."""
    return deepcopy(model)


def trained_ones(model, budget, shows):
    """Says that they moved, gives back the trained model."""
    parameters = dict(model.named_parameters())
    return [Adapted(model, parameters, 0.1, (1.0, 0.5)) for _ in shows]


def test_a_learning_rate_too_small_to_move_anything_fails(tmp_path):
    done = run(tiny_plan(shots=[1], lr=1e-12), tmp_path)
    assert done.ended == {"failed": 1}
    assert "adaptation changed nothing" in done.only(shots=1).reason


@pytest.mark.parametrize(
    ("module", "name", "fake"),
    [(adapt, "with_parameters", untouched_copy), (group, "adapt_all", trained_ones)],
)
def test_an_adaptation_that_changes_nothing_fails(tmp_path, monkeypatch, module, name, fake):
    monkeypatch.setattr(module, name, fake)
    done = run(tiny_plan(), tmp_path)
    assert done.ended == {"done": 1, "failed": 1}
    assert "adaptation changed nothing" in done.only(shots=1).reason
    assert done.only(shots=1).outcome is None


# Static scoring passed off as re-attack.


def test_attacking_the_trained_model_again_is_no_reattack(tmp_path, monkeypatch):
    genuine, plan = group.survives, tiny_plan()
    trained = {}

    def keep(model, budget, shows):
        trained["model"] = model
        return adapt.adapt_all(model, budget, shows)

    def static_again(attack, model, batch, meter, rng, clean):
        return genuine(attack, trained["model"], batch, meter, rng, clean)

    monkeypatch.setattr(group, "adapt_all", keep)
    monkeypatch.setattr(group, "survives", static_again)
    done = run(plan, tmp_path)
    assert done.ended == {"done": 1, "failed": 1}
    assert "another model than the adapted" in done.only(shots=1).reason


# Support leaking into query.


def test_showing_scored_images_fails(tmp_path, monkeypatch):
    test = load.load("digits", None, False, 0).test
    genuine = splits.draw_support
    monkeypatch.setattr(splits, "draw_support", lambda split, *rest: genuine(test, *rest))
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
