"""Training that starts from another trained defense: weights, families, cost, refusals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest
import torch
from tiny_runs import prepare, run, tiny_plan

from attacks.build import build_attack, strengths_of
from baselines.build import GivenModel, build_defense
from baselines.training import warm_start
from baselines.training.ledger import Ledger
from baselines.training.loop import classification_loss, train
from baselines.training.schedule import Schedule
from baselines.training.warm_start import attack_names, families, start_of, starts
from benchmark.adaptation.step_sizes import step_sizes
from benchmark.artifacts.settings import RunSettings
from benchmark.core.errors import UsageError
from benchmark.core.types import Defense, Trained
from benchmark.evaluation.verdicts import state_hash
from benchmark.identity.fingerprint import options_of_instance

FIRST = "pgd_at[attack_steps=1,epochs=1]"


@dataclass(frozen=True)
class Onward(Defense):
    """Notes what it starts with, then trains on L2 for one epoch of 100 images, or not at all."""

    name: ClassVar[str] = "standard"
    start: str = FIRST
    epochs: int = 1
    seen: list[str] = field(default_factory=list, compare=False)

    def training_attacks(self, strengths):
        return (build_attack("fgm_l2", strengths),) if self.epochs else ()

    def fit(self, network, train_split, strengths, progress, rng):
        self.seen.append(state_hash(network))
        ledger = Ledger(probes={"own": 2.0})

        def loss(model, batch):
            (attack,) = self.training_attacks(strengths)
            return classification_loss(model, ledger.perturb(attack, model, batch, rng))

        data, schedule = train_split.first(100), Schedule(self.epochs)
        train(network, data, loss, schedule, ledger, progress, rng)
        return ledger.trained(network)


def plan_of(defense, attacks="fgsm,fgm_l2,fgm_l1"):
    return tiny_plan(attacks, {"standard": defense}, shots=[0])


def test_training_begins_with_the_weights_of_its_start(tmp_path):
    alone = run(tiny_plan("fgsm", FIRST, shots=[0]), tmp_path)
    first = alone.prepared.model(alone.prepared.plan.cells[0])
    onward = Onward()
    done = run(plan_of(onward), tmp_path)
    assert onward.seen == [first.hash]
    assert [what.split(" on ")[0] for what in done.log.trained] == ["standard"], "read from disk"
    same = Onward(epochs=0)
    kept = run(plan_of(same), tmp_path)
    assert kept.prepared.model(kept.prepared.plan.cells[0]).hash == first.hash, (
        "nothing but its start"
    )


def test_a_start_that_nobody_trained_is_trained_first_and_kept_for_all(tmp_path):
    prepared = prepare(plan_of(Onward()), tmp_path)
    prepared.model(prepared.plan.cells[0])
    assert [what.split(" on ")[0] for what in prepared.listener.trained] == [FIRST, "standard"]
    alone = run(tiny_plan("fgsm", FIRST, shots=[0]), tmp_path)
    assert alone.log.trained == [], "the same file as on its own"


def test_what_both_trained_on_is_seen_and_what_both_took_is_summed(tmp_path):
    fresh = run(plan_of(Onward()), tmp_path)
    alone = run(tiny_plan("fgsm", FIRST, shots=[0]), tmp_path).records[0]
    prepared = prepare(plan_of(Onward()), tmp_path)
    restored = prepared.model(prepared.plan.cells[0])
    for record in fresh.records:
        assert record.trained_on == ["l2-gradient", "linf-gradient"]
        assert record.unseen == (record.cell.attack == "fgm_l1")
        assert record.probes == {"own": 2.0}
    cost = fresh.records[0].training
    assert alone.training.passes == 1000 * (3 + 2)
    assert cost.forwards == alone.training.forwards + 100 * 3
    assert cost.backwards == alone.training.backwards + 100 * 2
    assert (cost.images, cost.updates) == (1000 + 100, 16 + 2)
    assert cost.seconds > alone.training.seconds > 0
    assert (restored.cost, restored.probes) == (cost, {"own": 2.0}), "saved with the weights"


def test_planning_counts_the_families_of_the_start():
    strengths = strengths_of("digits")
    assert families(Onward(), strengths) == {"linf-gradient", "l2-gradient"}
    assert families(Onward(start=""), strengths) == {"l2-gradient"}
    assert families(Onward(start="checkpoint[path=x]"), strengths) is None
    text = "meta_adv[attacks=pgd_l2,start=pgd_at]"
    names = {cell.attack for cell in tiny_plan("unseen", text, shots=[0]).cells}
    assert names
    assert not names & {"fgsm", "pgd_linf", "pgd_l2"}
    plain = {cell.attack for cell in tiny_plan("unseen", "meta_adv[attacks=pgd_l2]").cells}
    assert {"fgsm", "pgd_linf"} <= plain


def test_the_training_hash_covers_the_start(tmp_path):
    hashes = {
        prepared.fingerprint(prepared.plan.cells[0])["training"]
        for start in ("", "standard[epochs=0]", "standard[epochs=0,lr=0.1]")
        for prepared in [prepare(plan_of(Onward(start=start, epochs=0), "fgsm"), tmp_path)]
    }
    assert len(hashes) == 3


def test_the_code_of_the_start_counts(tmp_path, monkeypatch):
    from benchmark.artifacts import models
    from benchmark.identity import fingerprint

    prepared = prepare(plan_of(Onward()), tmp_path)
    cell, defense = prepared.plan.cells[0], Onward()
    dataset, genuine = prepared.dataset(cell), fingerprint.identity
    before = models.training_hash(cell, defense, dataset, RunSettings())
    assert models.training_hash(cell, defense, dataset, RunSettings()) == before

    def edited(component, *modules):
        return "edited" if component.name == "pgd_at" else genuine(component, *modules)

    monkeypatch.setattr(fingerprint, "identity", edited)
    assert models.training_hash(cell, defense, dataset, RunSettings()) != before


def ring(monkeypatch, links):
    """Defenses a, b, ... that start from each other."""
    known = {name: Onward(start=start) for name, start in links.items()}
    monkeypatch.setattr(warm_start, "build_defense", lambda text: (text, known[text]))
    return known


def test_a_circle_of_starts_is_refused(monkeypatch):
    known = ring(monkeypatch, {"a": "b", "b": "c", "c": "b", "alone": "alone"})
    with pytest.raises(UsageError, match=r"start from itself \(b -> c -> b\)"):
        starts(known["a"])
    with pytest.raises(UsageError, match="start from itself"):
        start_of(known["alone"])
    assert list(starts(ring(monkeypatch, {"a": "b", "b": "c", "c": ""})["a"])) == ["b", "c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pgd_at[start=pgd_att]", "did you mean pgd_at"),
        ("pgd_at[start=standard[epoch=1]]", "unknown option of standard 'epoch'"),
        ("pgd_at[start=standard[epochs=1]", "cannot read"),
        ("pgd_at[start=nowhere.py:net]", "no file nowhere.py"),
    ],
)
def test_a_start_nobody_knows_is_refused_when_planning(text, message):
    with pytest.raises(UsageError, match=message):
        tiny_plan(defenses=text)


def test_weights_of_another_network_are_refused(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nnet = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    prepared = prepare(plan_of(Onward(start=f"{tmp_path}/mine.py:net"), "fgsm"), tmp_path)
    with pytest.raises(UsageError, match="the weights do not fit"):
        prepared.model(prepared.plan.cells[0])


def test_learned_step_sizes_stay_with_the_model_they_were_learned_for(tmp_path):
    start = "meta_adv[meta_sgd=true,iterations=1,warmup_epochs=0,tasks=1,attack_steps=1]"
    prepared = prepare(plan_of(Onward(start=start), "fgsm"), tmp_path)
    network = prepared.model(prepared.plan.cells[0]).network
    assert step_sizes(network) == {}
    first = prepare(tiny_plan("fgsm", start, shots=[0]), tmp_path)
    assert step_sizes(first.model(first.plan.cells[0]).network)


def test_options_of_the_start_may_have_options_themselves():
    name, defense = build_defense("pgd_at[start=pgd_at[start=standard[epochs=2,lr=0.1]],epochs=3]")
    assert name == "pgd_at[epochs=3,start=pgd_at[start=standard[epochs=2,lr=0.1]]]"
    assert options_of_instance(defense)["epochs"] == 3
    first, second = starts(defense).values()
    assert (first.epochs, second.epochs, second.lr) == (40, 2, 0.1)


def test_unknown_families_stay_unknown():
    known, unknown = (Trained(torch.nn.Identity(), what) for what in (frozenset({"noise"}), None))
    assert known.after(known).trained_on == {"noise"}
    assert known.after(unknown).trained_on is unknown.after(known).trained_on is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("standard", set()), ("pgd_at", {"pgd_linf"}), ("trades", {"trades"}),
        ("multi_at[attacks=pgd_l2+pgd_l1]", {"pgd_l2", "pgd_l1"}),
        ("multi_at[attacks=pgd_l2,start=pgd_at]", {"pgd_l2", "pgd_linf"}),
    ],
)  # fmt: skip
def test_the_names_of_what_training_used(text, names):
    assert attack_names(build_defense(text)[1], strengths_of("digits")) == names


def test_names_are_unknown_where_families_are_declared_alone():
    known = {
        text: attack_names(GivenModel("m", torch.nn.Identity, declared), strengths_of("digits"))
        for text, declared in (
            ("unknown", None), ("linf", frozenset({"linf-gradient"})), ("nothing", frozenset()),
        )
    }  # fmt: skip
    assert known == {"unknown": None, "linf": None, "nothing": frozenset()}


def test_records_say_what_was_unseen_by_family_and_by_name(tmp_path):
    plan = tiny_plan("fgsm,pgd_linf,pgd_l2", FIRST, shots=[0])
    found = run(plan, tmp_path).records
    told = [(one.cell.attack, one.unseen, one.unseen_by_name) for one in found]
    assert told == [("fgsm", False, True), ("pgd_linf", False, False), ("pgd_l2", True, True)]
