"""Sound models of every construction are evaluated, and as a plain loop evaluates them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sound_layers
import sound_passes
import sound_reference
import sound_weights

from benchmark import datasets
from benchmark.core.store import read_records

LIMIT, EPISODES = 40, 2
ATTACKS = {"fgsm": sound_reference.fgsm, "bim[steps=5]": sound_reference.bim}
UNABLE = {"no_parameters": "no parameters for adaptation method finetune"}
"""What cannot adapt, and why; robust@0 it has."""


def models():
    return [
        pytest.param(module, name, id=name)
        for module in (sound_weights, sound_passes, sound_layers)
        for name, make in vars(module).items()
        if hasattr(make, "makes_a_sound_model")
    ]


def records(run, defense, results):
    """Of a run of the real tool, by attack and shots."""
    words = "--shots 0,1 --episodes 2 --limit 40 --executor here --quiet".split()
    ended = run(*words, defense=defense, attacks=",".join(ATTACKS))
    assert ended.code == 0, ended.err
    found = read_records(results).records
    return {(one.cell.attack, one.cell.budget.shots): one for one in found}


@pytest.mark.filterwarnings("ignore")  # of torch, about what is deprecated
@pytest.mark.parametrize(("module", "name"), models())
def test_a_sound_model_is_evaluated_as_a_plain_loop_does(module, name, run, tmp_path):
    found = records(run, f"{Path(module.__file__)}:{name}", tmp_path / "results")
    assert len(found) == 4
    dataset = datasets.load("digits", None, False, 0)
    for (attack, shots), record in found.items():
        if shots and name in UNABLE:
            assert (record.status, UNABLE[name] in record.reason) == ("skipped", True)
            continue
        assert (record.status, record.reason, record.flags) == ("done", None, [])
        expected = sound_reference.expected(
            getattr(module, name), dataset, ATTACKS[attack], EPISODES * shots, LIMIT
        )
        for part, rows in expected.items():
            got = getattr(record.outcome, part).unpack()
            assert np.array_equal(got, np.stack([row.numpy() for row in rows])), (attack, part)


def test_there_are_many():
    assert len(models()) >= 70
