"""Sound models of every construction are evaluated, and as a plain loop evaluates them."""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import sound_arithmetic
import sound_layers
import sound_passes
import sound_reference
import sound_weights

from benchmark.cli import app as cli
from benchmark.data import load
from benchmark.results.store import read_records

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's, of what is deprecated
FLAGS = "--executor", "here", "--quiet", "--no-cache"
MODULES = sound_weights, sound_passes, sound_layers, sound_arithmetic
FGSM, BIM = "fgsm[eps=0.06]", "bim[eps=0.06,steps=5]"
ATTACKS = {FGSM: sound_reference.fgsm, BIM: sound_reference.bim}
LIMIT, EPISODES = 40, 2
NO_ADAPTATION = {
    "no_parameters": "no parameters for adaptation method finetune",
    "scripted": "TorchScript, whose parameters cannot adapt",
    "traced": "TorchScript, whose parameters cannot adapt",
}
"""What cannot adapt, and why; robust@0 it has."""
NO_GRADIENT = {"checkpointed_reentrant": "you can either set use_reentrant=False"}
"""What torch refuses a gradient at the images, and what the flag then says."""
LAST_BITS = {"half_inside": 2, "bfloat16_inside": 4, "autocast_inside": 4}
"""How many of 80 verdicts may differ once numbers of 11 or 8 bits were summed up in another order,
of both episodes at once; `double_inside`, which differs in nothing else, has none."""


def models():
    return [
        pytest.param(module, name, id=name)
        for module in MODULES
        for name, make in vars(module).items()
        if hasattr(make, "makes_a_sound_model")
    ]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """The records of a model: of one run for each file of models, by attack and shots."""

    @cache
    def run(module):
        names = (one.values[1] for one in models() if one.values[0] is module)
        given = ",".join(f"{Path(module.__file__)}:{name}" for name in names)
        results = tmp_path_factory.mktemp(module.__name__) / "results"
        words = "run", "--defense", given, "--attacks", ",".join(ATTACKS), "--shots", "0,1"
        more = "--episodes", EPISODES, "--limit", LIMIT, "--results", results
        lr = "--adapt-lr", sound_reference.LEARNING_RATE
        with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
            patch.setattr(sys, "argv", ["reattack", *map(str, (*words, *more, *lr, *FLAGS))])
            cli.main()
        return read_records(results).records

    def of(module, name):
        own = [one for one in run(module) if one.cell.defense.endswith(f":{name}")]
        return {(one.cell.attack, one.cell.budget.shots): one for one in own}

    return of


@pytest.mark.parametrize(("module", "name"), models())
def test_a_sound_model_is_evaluated_as_a_plain_loop_does(module, name, records):
    found, dataset = records(module, name), load.load("digits", None, False, 0)
    assert len(found) == 4
    for (attack, shots), record in found.items():
        if name in NO_GRADIENT:
            assert record.reason == "the model gives no gradient"
            assert NO_GRADIENT[name] in record.flags[0]
        elif shots and name in NO_ADAPTATION:
            assert record.status == "skipped"
            assert NO_ADAPTATION[name] in record.reason
        else:
            assert (record.status, record.reason, record.flags) == ("done", None, [])
            few = LAST_BITS.get(name, 0) if shots else 0
            apart = differences(record, getattr(module, name), ATTACKS[attack], dataset, few)
            assert apart <= few, (attack, apart)


def differences(record, make, attack, dataset, few):
    """Verdicts other than the loop's, but where the loop itself has others in double precision."""
    episodes = EPISODES * record.cell.budget.shots
    single = sound_reference.expected(make, dataset, attack, episodes, LIMIT)
    got = {part: getattr(record.outcome, part).unpack() for part in single}
    other = {part: got[part] != np.stack(rows) for part, rows in single.items()}
    if not few and any(part.any() for part in other.values()):
        double = sound_reference.in_double(make)
        judge = sound_reference.expected(double, dataset, attack, episodes, LIMIT)
        other = {part: rows & (got[part] != np.stack(judge[part])) for part, rows in other.items()}
    return max(int(rows.sum()) for rows in other.values())


def test_there_are_many_and_each_is_accurate():
    dataset = load.load("digits", None, False, 0)
    images, labels = dataset.test.first(200).batch()
    made = {one.id: getattr(*one.values)() for one in models()}
    assert len(made) >= 75
    for name, model in made.items():
        logits = sound_reference.ask(model, images)
        assert (logits.argmax(1) == labels).float().mean() > 0.7, name


def test_the_comparison_would_notice_other_parameters_or_stored_examples(records, monkeypatch):
    """The control: a loop that adapts to less, or does not attack again, finds other verdicts."""
    record = records(sound_weights, "plain")[BIM, 1].outcome
    got = record.reattacked.unpack()
    assert (got != record.static.unpack()).any()
    monkeypatch.setattr(sound_reference, "LEARNING_RATE", 0.0)
    dataset = load.load("digits", None, False, 0)
    other = sound_reference.expected(
        sound_weights.plain, dataset, sound_reference.bim, EPISODES, LIMIT
    )
    assert (np.stack(other["reattacked"]) != got).any()
