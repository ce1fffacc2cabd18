"""Libraries beside our own attacks, on a small model that was trained on clean digits."""

from __future__ import annotations

from functools import cache

from torch import nn

from attacks import ATTACKS
from attacks.build import build_attack, strengths_of
from baselines.build import build_defense
from benchmark.contracts.defense_probe import network_for
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
from benchmark.core.types import Split
from benchmark.data import load
from benchmark.evaluation.verdicts import Meter, frozen, survives

STRENGTHS = strengths_of("digits")


@cache
def trained() -> tuple[nn.Module, Split]:
    """The model, and what it was not trained on."""
    data = load.load("digits", None, False, 0)
    network, quiet = network_for("digits"), lambda share: None
    _, defense = build_defense("standard[epochs=5]")
    found = defense.fit(network, data.train, STRENGTHS, quiet, stream("cleverhans"))
    return frozen(found.model), data.test


@cache
def scored(text: str, n: int) -> int:
    """How many of the first `n` digits stand."""
    model, digits = trained()
    batch = digits.first(n).batch()
    rng = Streams.named(n, "scored", text)
    verdicts, attacked = survives(build_attack(text, STRENGTHS), model, batch, Meter(), rng)
    assert attacked.images.shape == batch.images.shape
    return int(verdicts.sum())


def check_strength(text: str, ours: str, n: int = 60) -> None:
    """It breaks a tenth at least, and ours, if there is one, no fewer but for a tenth of them."""
    found, clean = scored(text, n), scored("fgsm[eps=1e-9]", n)
    assert found < 0.9 * clean, "it breaks something"
    if ours:
        assert scored(ours, n) <= found + 0.1 * n, "ours is not weaker"


def check_names(texts: list[str], here: bool, line: str, about: str | None) -> None:
    """Where the library is, all run by name only; where not, the line that installs it is said."""
    names = [text.partition("[")[0] for text in texts]
    known = set(ATTACKS.names())
    if here:
        assert set(names) <= known
        assert all(ATTACKS.get(name).only_by_name for name in names)
    else:
        assert not set(names) & known
        assert {ATTACKS.unavailable[name] for name in names} == {line}
    assert about
    assert line in about
