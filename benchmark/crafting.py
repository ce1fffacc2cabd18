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

from benchmark import evaluation, fingerprint
from benchmark.cache import Cache, Entry, tensor_bytes
from benchmark.core.errors import AuditError
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch
from benchmark.evaluation import Meter, correct
from benchmark.models import Model
from benchmark.sources import reachable_hash

LAYOUT = 1
"""Of cache files: another number, and no older file is found."""


class Crafted(NamedTuple):
    """What an attack does to the trained model: crafted once, used by every budget."""

    images: Tensor
    clean: Tensor
    robust: Tensor
    outside: int


def craft(
    cache: Cache | None, attack: Attack, model: Model, batch: Batch, about: Mapping[str, str],
    meter: Meter, rng: Streams,
) -> Crafted:  # fmt: skip
    """Attack every image at full strength, or read what the same attack led to before.

    `about` says in words what this is. A model that answers at random is attacked every time.
    Passes are counted on `meter` only where something is crafted.
    """
    clean = correct(model.network, batch)
    if cache is None or any(flag.startswith("randomised") for flag in model.flags):
        return _craft(attack, model, batch, clean, meter, rng)
    key = key_of(attack, model, batch, rng)
    found = cache.get(key)
    if found is not None:
        try:
            return recheck(attack, model.network, batch, clean, found)
        except AuditError as error:
            cache.say(f"cached examples are not used, but made again: {error}")
    made = _craft(attack, model, batch, clean, meter, rng)
    notes = {**about, "outside": str(made.outside)}
    cache.put(key, Entry(made.images, made.clean, made.robust, notes))
    return made


def _craft(
    attack: Attack, model: Model, batch: Batch, clean: Tensor, meter: Meter, rng: Streams
) -> Crafted:
    made = evaluation.run_attack(attack, model.searched, batch, "examples", meter, rng)
    robust = clean & correct(model.network, Batch(made.images, batch.labels))
    return Crafted(made.images, clean, robust, int(made.outside.sum()))


def recheck(
    attack: Attack, network: nn.Module, batch: Batch, clean: Tensor, found: Entry
) -> Crafted:
    """What was found, audited like a fresh proposal and with fresh verdicts.

    Raises:
        AuditError: it breaks a rule of the attack, or verdicts are not what they were.
    """
    images = found.images.to(batch.images.device)
    if images.shape != batch.images.shape:
        raise AuditError(f"shape {tuple(images.shape)}, expected {tuple(batch.images.shape)}")
    for rows in evaluation.pieces(images):
        _, over = evaluation.audit(attack, batch.images[rows], images[rows])
        if over.any():
            raise AuditError(f"{int(over.sum())} images are over the budget of {attack.name}")
    robust = clean & correct(network, Batch(images, batch.labels))
    for expected, got in ((found.clean, clean), (found.robust, robust)):
        if not torch.equal(expected, got.cpu()):
            changed = int((expected != got.cpu()).sum())
            raise AuditError(f"{changed} verdicts of {attack.name} are not what they were")
    return Crafted(images, clean, robust, int(found.notes["outside"]))


def key_of(attack: Attack, model: Model, batch: Batch, rng: Streams) -> str:
    """32 hexadecimal digits of all that crafted examples depend on, by content where possible.

    The images, labels and random stream stand for data set, seed, episode, limit and pool size.
    """
    digest = hashlib.blake2b(digest_size=16)
    parts = [
        LAYOUT, rng.drawn, model.hash, model.training, *_layers(model.searched),
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
    return reachable_hash({"benchmark.evaluation", *attack.modules, *modules})


def _numerics(images: Tensor) -> tuple[object, ...]:
    """Where and how exactly torch computes."""
    return (
        images.device.type, torch.get_default_dtype(), torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32, torch.is_autocast_enabled(images.device.type),
    )  # fmt: skip
