"""Examples crafted to be kept: made once for a trained model and an attack, then read from disk.

What comes from disk is trusted no more than what comes from an attack: it is audited again, and
its verdicts are taken again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.artifacts.example_cache import Cache, Entry
from benchmark.artifacts.models import Model
from benchmark.core.errors import AuditError
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch
from benchmark.evaluation import verdicts
from benchmark.evaluation.batch_size import pieces, pieces_for
from benchmark.evaluation.verdicts import Meter, correct
from benchmark.identity import fingerprint
from benchmark.identity.import_graph import reachable_hash
from benchmark.results.weights import tensor_bytes

LAYOUT = 1
"""Of cache files: another number, and no older file is found."""


class Wanted(NamedTuple):
    """Examples to craft at full strength, against a trained model."""

    attack: Attack
    model: Model
    batch: Batch
    rng: Streams
    """One for each image."""
    about: Mapping[str, str]
    """What this is, in words, for people who look into the cache."""

    @property
    def pieces(self) -> list[Tensor]:
        """Rows (int64) that are attacked at once."""
        return pieces_for(self.attack, self.model.searched, self.batch.images)

    @property
    def may_be_kept(self) -> bool:
        """A model that answers at random is attacked every time."""
        return not any(flag.startswith("randomised") for flag in self.model.flags)


class Piece(NamedTuple):
    """Some of the examples, crafted elsewhere: proposals to be audited again."""

    images: Tensor
    outside: int
    """How many of them left the budget; their originals took over."""
    target: str
    """`state_hash` of the model that was attacked."""
    meter: Meter
    """What it took."""


class Crafted(NamedTuple):
    """What an attack does to the trained model: crafted once, used by every budget."""

    images: Tensor
    clean: Tensor
    robust: Tensor
    outside: int


def craft(
    cache: Cache | None, wanted: Wanted, meter: Meter, given: Sequence[Piece] = ()
) -> Crafted:
    """Attack every image at full strength, or read what the same attack led to before.

    Passes are counted on `meter` only where something is crafted. `given`: all pieces, where
    others have crafted them for this call.
    """
    clean = correct(wanted.model.network, wanted.batch)
    if cache is None or not wanted.may_be_kept:
        return _craft(wanted, clean, meter, given)
    key = key_of(wanted)
    found = cache.get(key)
    if found is not None:
        try:
            return recheck(wanted, clean, found)
        except AuditError as error:
            cache.say(f"cached examples are not used, but made again: {error}")
    made = _craft(wanted, clean, meter, given)
    notes = {**wanted.about, "outside": str(made.outside)}
    cache.put(key, Entry(made.images, made.clean, made.robust, notes))
    return made


def is_kept(cache: Cache | None, wanted: Wanted) -> bool:
    """Whether the cache holds these."""
    return cache is not None and wanted.may_be_kept and cache.has(key_of(wanted))


def craft_piece(wanted: Wanted, number: int) -> Piece:
    """One of the pieces in which `craft` would attack the batch, the same bit for bit."""
    rows, meter = wanted.pieces[number], Meter()
    batch, rng = wanted.batch.take(rows), wanted.rng.take(rows)
    made = verdicts.run_attack(wanted.attack, wanted.model.searched, batch, "examples", meter, rng)
    return Piece(made.images.cpu(), int(made.outside.sum()), made.target, meter)


def _craft(wanted: Wanted, clean: Tensor, meter: Meter, given: Sequence[Piece]) -> Crafted:
    attack, model, batch, rng, _ = wanted
    if given:
        images, outside = _joined(wanted, meter, given)
    else:
        made = verdicts.run_attack(attack, model.searched, batch, "examples", meter, rng)
        images, outside = made.images, int(made.outside.sum())
    robust = clean & correct(model.network, Batch(images, batch.labels))
    return Crafted(images, clean, robust, outside)


def _joined(wanted: Wanted, meter: Meter, given: Sequence[Piece]) -> tuple[Tensor, int]:
    if any(piece.target != wanted.model.hash for piece in given):
        raise AuditError(f"examples of {wanted.attack.name} were crafted against another model")
    for piece in given:
        meter.add(piece.meter)
    images = torch.cat([piece.images for piece in given])
    return _audited_again(wanted, images), sum(piece.outside for piece in given)


def recheck(wanted: Wanted, clean: Tensor, found: Entry) -> Crafted:
    """What was found, audited like a fresh proposal and with fresh verdicts.

    Raises:
        AuditError: it breaks a rule of the attack, or verdicts are not what they were.
    """
    images = _audited_again(wanted, found.images)
    robust = clean & correct(wanted.model.network, Batch(images, wanted.batch.labels))
    for expected, got in ((found.clean, clean), (found.robust, robust)):
        if not torch.equal(expected, got.cpu()):
            changed = int((expected != got.cpu()).sum())
            raise AuditError(f"{changed} verdicts of {wanted.attack.name} are not what they were")
    return Crafted(images, clean, robust, int(found.notes["outside"]))


def _audited_again(wanted: Wanted, images: Tensor) -> Tensor:
    attack, batch = wanted.attack, wanted.batch
    images = images.to(batch.images.device)
    if images.shape != batch.images.shape:
        raise AuditError(f"shape {tuple(images.shape)}, expected {tuple(batch.images.shape)}")
    for rows in pieces(images):
        _, over = verdicts.audit(attack, batch.images[rows], images[rows])
        if over.any():
            raise AuditError(f"{int(over.sum())} images are over the budget of {attack.name}")
    return images


def key_of(wanted: Wanted) -> str:
    """32 hexadecimal digits of all that crafted examples depend on, by content where possible.

    The images, labels and random stream stand for data set, seed, episode, limit and pool size.
    """
    attack, model, batch, rng, _ = wanted
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
    return kind.__module__, kind.__qualname__, attack.name, options, repr(attack), attack.threat


def _layers(network: nn.Module) -> Iterator[str]:
    """Classes and settings that no weight shows: a stride, an epsilon, another activation."""
    yield repr(network)
    for layer in network.modules():
        yield f"{type(layer).__module__}.{type(layer).__qualname__}"


def _code(attack: Attack, network: nn.Module) -> str:
    """Of the attack, of every layer, and of the audit, with all that each imports."""
    kinds = {type(attack), *map(type, network.modules())}
    modules = {parent.__module__ for kind in kinds for parent in kind.__mro__}
    return reachable_hash({"benchmark.evaluation.verdicts", *attack.modules, *modules})


def _numerics(images: Tensor) -> tuple[object, ...]:
    """Where and how exactly torch computes."""
    return (
        images.device.type, torch.get_default_dtype(), torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32, torch.is_autocast_enabled(images.device.type),
    )  # fmt: skip
