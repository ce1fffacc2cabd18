"""Examples crafted to be kept: made once for a trained model and an attack, then read from disk.

What comes from disk is trusted no more than what comes from an attack: it is audited again, and
its verdicts are taken again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.artifacts.example_cache import Cache, Entry
from benchmark.artifacts.models import Model
from benchmark.core.errors import AuditError
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch
from benchmark.evaluation import verdicts
from benchmark.evaluation.batch_size import is_costly, pieces, pieces_for
from benchmark.evaluation.verdicts import Meter, correct
from benchmark.identity import fingerprint
from benchmark.results.weights import tensor_bytes

LAYOUT = 1
"""Of cache files: another number, and no older file is found."""
RECENT = 128 << 20
"""Bytes of examples kept in memory: a matrix of attacks shown and scored comes back to each of them
after every attack shown."""


class AttackRequest(NamedTuple):
    """Examples to craft at full strength, against a trained model."""

    attack: Attack
    model: Model
    batch: Batch
    rng: Streams
    """One for each image."""
    about: Mapping[str, str]
    """What this is, in words, for people who look into the cache."""

    @property
    def pieces(self) -> list[AttackRequest]:
        """Of a costly attack, the parts that are attacked, and kept, one by one; else itself."""
        rows = pieces_for(self.attack, self.model.searched, self.batch.images)
        if not is_costly(self.attack) or len(rows) == 1:
            return [self]
        what = self.about.get("what", "")
        return [
            self._replace(
                batch=self.batch.take(some),
                rng=self.rng.take(some),
                about={**self.about, "what": f"{what}, piece {number} of {len(rows)}"},
            )
            for number, some in enumerate(rows, 1)
        ]

    @property
    def may_be_kept(self) -> bool:
        """A model that answers at random is attacked every time."""
        return not any(flag.startswith("randomised") for flag in self.model.flags)

    def equals(self, other: AttackRequest) -> bool:
        """Whether another asks for the same examples."""
        return (
            self.about == other.about
            and (self.model.hash, self.model.training) == (other.model.hash, other.model.training)
            and identity(self.attack) == identity(other.attack)
            and torch.equal(self.rng.keys, other.rng.keys)
            and torch.equal(self.batch.images, other.batch.images)
        )


class AdversarialExamples(NamedTuple):
    """What an attack does to the trained model: crafted once, used by every budget."""

    images: Tensor
    clean: Tensor
    robust: Tensor
    outside: int
    """Proposals of a minimum-norm attack over budget; their originals took over."""


class ExampleStore:
    """Crafts examples, or finds those that were crafted before: in memory, then in the cache."""

    def __init__(self, cache: Cache | None) -> None:
        self.cache = cache
        self._recent: list[tuple[AttackRequest, AdversarialExamples]] = []

    def craft(self, request: AttackRequest, meter: Meter) -> AdversarialExamples:
        """Attack every image at full strength; passes are counted where something is crafted."""
        known = [made for asked, made in self._recent if asked.equals(request)]
        made = known[0] if known else self._craft(request, meter)
        self._recent = [one for one in self._recent if one[1] is not made]
        self._recent.append((request, made))
        while sum(made.images.nbytes for _, made in self._recent[:-1]) > RECENT:
            self._recent.pop(0)
        return made

    def keeps(self, request: AttackRequest) -> bool:
        """Whether others find in the cache what is made here."""
        return self.cache is not None and request.may_be_kept

    def missing(self, request: AttackRequest) -> list[int]:
        """The pieces of a costly attack that are not in the cache, by number; else none."""
        if self.cache is None or not request.may_be_kept or not is_costly(request.attack):
            return []
        parts = enumerate(request.pieces)
        return [number for number, one in parts if not self.cache.has(key_of(one))]

    def craft_piece(self, request: AttackRequest, number: int, meter: Meter) -> None:
        """Put one of the pieces into the cache, for whoever needs them all."""
        piece = request.pieces[number]
        self._find(piece, correct(piece.model.network, piece.batch), meter)

    def _craft(self, request: AttackRequest, meter: Meter) -> AdversarialExamples:
        clean = correct(request.model.network, request.batch)
        pieces = request.pieces if self.cache and request.may_be_kept else [request]
        if len(pieces) == 1:
            return self._find(request, clean, meter)
        found = [
            self._find(piece, correct(piece.model.network, piece.batch), meter) for piece in pieces
        ]
        images, outside = (
            torch.cat([one.images for one in found]),
            sum(one.outside for one in found),
        )
        return _judged(request, clean, images, outside)

    def _find(self, request: AttackRequest, clean: Tensor, meter: Meter) -> AdversarialExamples:
        """From the cache where it holds them, else crafted and put there."""
        if self.cache is None or not request.may_be_kept:
            return _attacked(request, clean, meter)
        key = key_of(request)
        found = self.cache.get(key)
        if found is not None:
            try:
                return recheck(request, clean, found)
            except AuditError as error:
                self.cache.say(f"cached examples are not used, but made again: {error}")
        made = _attacked(request, clean, meter)
        notes = {**request.about, "outside": str(made.outside)}
        self.cache.put(key, Entry(made.images, made.clean, made.robust, notes))
        return made


def _attacked(request: AttackRequest, clean: Tensor, meter: Meter) -> AdversarialExamples:
    attack, model, batch, rng, _ = request
    made = verdicts.run_attack(attack, model.searched, batch, "examples", meter, rng)
    return _judged(request, clean, made.images, int(made.outside.sum()))


def _judged(
    request: AttackRequest, clean: Tensor, images: Tensor, outside: int
) -> AdversarialExamples:
    robust = clean & correct(request.model.network, Batch(images, request.batch.labels))
    return AdversarialExamples(images, clean, robust, outside)


def recheck(request: AttackRequest, clean: Tensor, found: Entry) -> AdversarialExamples:
    """What was found, audited like a fresh proposal and with fresh verdicts.

    Raises:
        AuditError: it breaks a rule of the attack, or verdicts are not what they were.
    """
    images = _audited_again(request, found.images)
    robust = clean & correct(request.model.network, Batch(images, request.batch.labels))
    for expected, got in ((found.clean, clean), (found.robust, robust)):
        if not torch.equal(expected, got.cpu()):
            changed = int((expected != got.cpu()).sum())
            raise AuditError(f"{changed} verdicts of {request.attack.name} are not what they were")
    return AdversarialExamples(images, clean, robust, int(found.notes["outside"]))


def _audited_again(request: AttackRequest, images: Tensor) -> Tensor:
    attack, batch = request.attack, request.batch
    images = images.to(batch.images.device)
    if images.shape != batch.images.shape:
        raise AuditError(f"shape {tuple(images.shape)}, expected {tuple(batch.images.shape)}")
    for rows in pieces(images):
        _, over = verdicts.audit(attack, batch.images[rows], images[rows])
        if over.any():
            raise AuditError(f"{int(over.sum())} images are over the budget of {attack.name}")
    return images


def key_of(request: AttackRequest) -> str:
    """32 hexadecimal digits of all that crafted examples depend on, by content where possible.

    The images, labels and random stream stand for data set, seed, episode, limit and pool size.
    """
    attack, model, batch, rng, _ = request
    digest = hashlib.blake2b(digest_size=16)
    parts = [
        LAYOUT, rng.drawn, model.hash, model.training, model.answers, *_layers(model.searched),
        *identity(attack), _code(attack, model.searched),
        sorted(fingerprint.versions().items()), torch.__version__, *_numerics(batch.images),
    ]  # fmt: skip
    digest.update("\x1f".join(map(str, parts)).encode())
    for tensor in (batch.images, batch.labels, rng.keys):
        digest.update(f"\x1e{tensor.dtype} {tuple(tensor.shape)}\x1e".encode())
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def identity(attack: Attack) -> tuple[object, ...]:
    """Which attack with which options; `repr` sees what is inside options that are objects."""
    kind = type(attack)
    options = sorted(fingerprint.options_of_instance(attack).items())
    about = kind.__module__, kind.__qualname__, attack.name, options, repr(attack), attack.threat
    known = attack.knowledge
    if known is None:
        return about
    return *about, *map(tensor_bytes, known.images), *map(verdicts.state_hash, known.surrogates)


def _layers(network: nn.Module) -> Iterator[str]:
    """Classes and settings that no weight shows: a stride, an epsilon, another activation."""
    yield repr(network)
    for layer in network.modules():
        yield f"{type(layer).__module__}.{type(layer).__qualname__}"


def _code(attack: Attack, network: nn.Module) -> str:
    """Of the attack, of every layer, and of the audit, with all that each imports."""
    layers = set().union(*map(fingerprint.modules_of, network.modules()))
    return fingerprint.identity(attack, "benchmark.evaluation.verdicts", *layers)


def _numerics(images: Tensor) -> tuple[object, ...]:
    """Where and how exactly torch computes."""
    return (
        images.device.type, torch.get_default_dtype(), torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32, torch.is_autocast_enabled(images.device.type),
    )  # fmt: skip
