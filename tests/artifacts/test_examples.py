"""Keys and entries of the cache: what another situation made, or what is damaged, is no hit."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

import pytest
import torch
from damage import edit, flip
from tiny_runs import tiny_plan
from torch import nn

from attacks.gradient import PGDLinf
from benchmark.artifacts.example_cache import Cache, files
from benchmark.artifacts.examples import AttackRequest, ExampleStore, key_of
from benchmark.artifacts.models import Model
from benchmark.contracts.toys import conv_net, some_images
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.evaluation.precision import in_precision
from benchmark.evaluation.verdicts import Meter, state_hash
from benchmark.identity import fingerprint

GIGA = 10**9


# Keys: everything the examples depend on.


def model_of(network, flags=()):
    return Model(network, network, None, state_hash(network), "trained so", list(flags))


@dataclass(frozen=True)
class Inner:
    size: float = 1.0


@dataclass(frozen=True)
class Nested(PGDLinf):
    inner: Inner = field(default_factory=Inner)


class Situation:
    """All that a key is made of; each test changes one thing."""

    def __init__(self):
        self.attack = Nested(0.1, steps=2)
        self.network = conv_net((1, 8, 8), 10)
        self.model = model_of(self.network)
        self.batch = some_images(self.network, (1, 8, 8), 12)
        self.rng = Streams.named(12, "attack", "static", "pgd_linf", 0)

    def key(self):
        return key_of(AttackRequest(self.attack, self.model, self.batch, self.rng, {}))


class OtherAttack(Nested):
    """The same options in another class."""


class OtherLayer(nn.ReLU):
    """The same weights through other code."""


def one_pixel(batch):
    images = batch.images.clone()
    images[3, 0, 2, 2] += 1e-6
    return Batch(images, batch.labels)


def in_bfloat16(model):
    return model._replace(searched=in_precision(model.network, "bfloat16"))


def turned(batch):
    return Batch(batch.images.view(-1, 1, 4, 16), batch.labels)


def other_layer(situation):
    network = conv_net((1, 8, 8), 10)
    network[2] = OtherLayer()
    assert state_hash(network) == situation.model.hash
    situation.model = model_of(network)


CHANGES = {
    "options": lambda s: setattr(s, "attack", Nested(0.1, steps=3)),
    "eps": lambda s: setattr(s, "attack", Nested(0.1 + 1e-9, steps=2)),
    "options in options": lambda s: setattr(s, "attack", Nested(0.1, steps=2, inner=Inner(2.0))),
    "class": lambda s: setattr(s, "attack", OtherAttack(0.1, steps=2)),
    "weights": lambda s: setattr(s, "model", s.model._replace(hash="0" * 16)),
    "training": lambda s: setattr(s, "model", s.model._replace(training="trained otherwise")),
    "layers": other_layer,
    "a setting of a layer": lambda s: setattr(s.model.network[1], "eps", 0.1),
    "precision": lambda s: setattr(s, "model", in_bfloat16(s.model)),
    "a pixel": lambda s: setattr(s, "batch", one_pixel(s.batch)),
    "a label": lambda s: setattr(s, "batch", Batch(s.batch.images, s.batch.labels.flip(0))),
    "fewer images": lambda s: setattr(s, "batch", Batch(s.batch.images[:6], s.batch.labels[:6])),
    "shape": lambda s: setattr(s, "batch", turned(s.batch)),
    "the stream": lambda s: setattr(s, "rng", Streams.named(12, "attack", "static", 1)),
    "draws made": lambda s: s.rng.uniform(),
}  # fmt: skip


def test_the_same_situation_has_the_same_key():
    assert Situation().key() == Situation().key()
    assert len(Situation().key()) == 32


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_makes_another_key(change):
    situation = Situation()
    before = situation.key()
    CHANGES[change](situation)
    assert situation.key() != before


def test_other_versions_or_code_make_another_key(monkeypatch):
    before = Situation().key()
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "versions", lambda: {"torch": "0.1"})
        assert Situation().key() != before
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "reachable_hash", lambda modules: "other versions")
        assert Situation().key() != before
    assert Situation().key() == before


def test_the_code_in_a_key_is_that_of_attack_layers_and_audit(monkeypatch):
    asked = []
    monkeypatch.setattr(fingerprint, "reachable_hash", lambda modules: asked.append(modules) or "")
    situation = Situation()
    other_layer(situation)
    situation.key()
    (modules,) = asked
    assert {
        "attacks.gradient",
        "benchmark.evaluation.verdicts",
        __name__,
        "torch.nn.modules.conv",
    } <= modules


# Entries that must not be used.


def crafted(folder, situation, limit=GIGA, flags=()):
    """Craft through a cache; also what was said and how many passes it took."""
    notes, meter = [], Meter()
    model = situation.model._replace(flags=list(flags))
    rng = Streams.named(12, "attack")
    request = AttackRequest(situation.attack, model, situation.batch, rng, {})
    made = ExampleStore(Cache(folder, limit, notes.append)).craft(request, meter)
    return made, notes, meter.forwards


def same(made, other):
    return (
        all(
            torch.equal(getattr(made, name), getattr(other, name))
            for name in ("images", "clean", "robust")
        )
        and made.outside == other.outside
    )


def weaker(tensors, _):
    """Inside the threat and right in form, but not what the attack led to."""
    tensors["images"] = Situation().batch.images


DAMAGE = {
    "a bit": (flip, "(damaged or changed); made again"),
    "half": (lambda path: os.truncate(path, 700), "not a readable file of tensors"),
    "empty": (lambda path: path.write_bytes(b""), "not a readable file of tensors"),
    "text": (lambda path: path.write_text("{}"), "not a readable file of tensors"),
    "NaN": (edit(lambda t, _: t["images"][0].fill_(float("nan"))), "pixels are not in [0, 1]"),
    "range": (edit(lambda t, _: t["images"][0].fill_(1.5)), "pixels are not in [0, 1]"),
    "dtype": (edit(lambda t, _: t.update(images=t["images"].double())), "images are torch.float64"),
    "names": (edit(lambda t, _: t.pop("clean")), "holds images, robust"),
    "length": (edit(lambda t, _: t.update(clean=t["clean"][:3])), "verdicts do not fit"),
    "outside": (edit(lambda _, notes: notes.pop("outside")), "no count of images outside"),
    "other key": (edit(lambda _, notes: notes.update(key="0" * 32)), "that was renamed"),
    "other size": (
        edit(lambda t, _: t.update({name: tensor[:3] for name, tensor in t.items()})),
        "shape (3, 1, 8, 8), expected (12, 1, 8, 8)",
    ),
    "budget": (edit(lambda t, _: t["images"][2].fill_(0.5)), "left its budget (linf 0.1) on 1 of"),
    "weaker": (edit(weaker), "verdicts of pgd_linf are not what they were"),
    "verdicts": (edit(lambda t, _: t["robust"].logical_not_()), "verdicts of pgd_linf are not"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_cannot_be_trusted_is_made_again_and_said(tmp_path, damage):
    situation = Situation()
    fresh, notes, passes = crafted(tmp_path, situation)
    assert passes > 0
    assert not notes
    assert not torch.equal(fresh.clean, fresh.robust), "the attack breaks something"
    (file,) = files(tmp_path)
    spoil, expected = DAMAGE[damage]
    spoil(file.path)
    again, notes, passes = crafted(tmp_path, situation)
    assert passes > 0
    assert same(fresh, again)
    (note,) = notes
    assert expected in note
    third, notes, passes = crafted(tmp_path, situation)
    assert (notes, passes) == ([], 0), "the good one took its place"
    assert same(fresh, third)


def test_a_model_that_answers_at_random_is_attacked_every_time(tmp_path):
    for _ in range(2):
        _, _, passes = crafted(tmp_path, Situation(), flags=["randomised: two passes disagree"])
        assert passes > 0
    assert not files(tmp_path)


def test_minimum_norm_attacks_keep_how_many_were_over_budget(tmp_path):
    situation = Situation()
    plan = tiny_plan("deepfool[eps=0.0001,steps=3]")
    situation.attack = plan.attacks["deepfool[eps=0.0001,steps=3]"]
    fresh, _, _ = crafted(tmp_path, situation)
    again, notes, passes = crafted(tmp_path, situation)
    assert (notes, passes) == ([], 0)
    assert fresh.outside == again.outside > 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_read(tmp_path):
    fresh, _, _ = crafted(tmp_path, Situation())
    tmp_path.chmod(0o555)
    try:
        again, notes, passes = crafted(tmp_path, Situation())
        assert (notes, passes) == ([], 0)
        assert same(fresh, again)
        other = Situation()
        other.attack = replace(other.attack, steps=3)
        _, notes, passes = crafted(tmp_path, other)
        assert passes > 0
        assert "Permission denied" in notes[0]
    finally:
        tmp_path.chmod(0o755)
