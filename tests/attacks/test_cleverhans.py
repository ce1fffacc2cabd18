"""CleverHans beside our own attacks, where it is installed; else the line that installs it."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from torch import nn

from attacks import ATTACKS
from attacks.build import build_attack, strengths_of
from attacks.libraries import cleverhans_adapter
from baselines.build import build_defense
from benchmark.contracts.defense_probe import network_for
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.data import load
from benchmark.evaluation.verdicts import Meter, frozen, survives

STRENGTHS = strengths_of("digits")
OURS = {
    "ch_fgm": "fgsm", "ch_pgd": "pgd_linf", "ch_pgd_l2": "pgd_l2", "ch_cw": "cw",
    "ch_spsa[samples=32]": "spsa", "ch_hop_skip_jump[steps=5]": "",
}  # fmt: skip
N = 60


@pytest.fixture(scope="module")
def scored():
    """How many of 60 digits a small model that was trained on clean images stands under."""
    data = load.load("digits", None, False, 0)
    network, quiet = network_for("digits"), lambda share: None
    _, defense = build_defense("standard[epochs=5]")
    trained = defense.fit(network, data.train, STRENGTHS, quiet, stream("cleverhans"))
    model: nn.Module = frozen(trained.model)
    batch = data.test.first(N).batch()

    def score(text):
        verdicts, attacked = survives(
            build_attack(text, STRENGTHS), model, batch, Meter(), Streams.named(N, "scored", text)
        )
        assert attacked.images.shape == batch.images.shape
        return int(verdicts.sum())

    return score


@pytest.mark.extra
@pytest.mark.filterwarnings("ignore::UserWarning:cleverhans")
@pytest.mark.parametrize("text", OURS)
def test_it_breaks_about_what_ours_does(scored, text):
    pytest.importorskip("cleverhans", reason="needs pip install --no-deps cleverhans")
    found, clean = scored(text), scored("fgsm[eps=1e-9]")
    assert found < 0.9 * clean, "it breaks something"
    if OURS[text]:
        assert scored(OURS[text]) <= found + 0.1 * N, "ours is not weaker"


def test_where_it_is_missing_the_line_that_installs_it_is_said():
    names = [text.partition("[")[0] for text in OURS]
    if find_spec("cleverhans"):
        assert set(names) <= set(ATTACKS.names())
        assert all(ATTACKS.get(name).only_by_name for name in names)
    else:
        ATTACKS.names()
        told = {ATTACKS.unavailable[name] for name in names}
        assert told == {"pip install --no-deps cleverhans"}
    assert cleverhans_adapter.__doc__
    assert "pip install --no-deps cleverhans" in cleverhans_adapter.__doc__
