"""Tensors on disk: safetensors files, each with a hash of all that is in it.

One wrong bit in a model gives another model, and nothing in its answers says so. Importing this
module does not import torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmark.core.errors import UsageError
from benchmark.results.sealing import KEY
from benchmark.results.store import atomic_path

if TYPE_CHECKING:
    from torch import Tensor


class Weights(NamedTuple):
    """What a file holds: tensors, and what was noted beside them."""

    tensors: dict[str, Tensor]
    notes: dict[str, str]


def write_weights(
    path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str], durable: bool = True
) -> None:
    """Save tensors as safetensors, with notes in the header; `durable` as in `atomic_path`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    sealed = {**notes, KEY: content_hash(contiguous, notes)}
    with atomic_path(path, durable) as temporary:
        try:
            save_file(contiguous, temporary, metadata=sealed)
        except SafetensorError as error:  # what the library makes of a full disk
            raise OSError(str(error)) from error


def read_weights(path: Path) -> Weights | None:
    """What `write_weights` wrote; None if there is no such file.

    Raises:
        UsageError: it cannot be read, or is not what was written. One line that names the file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        if not path.is_file():  # a pipe would wait for ever
            return None
        with safe_open(path, framework="pt") as file:
            # copies: the library's own tensors are the file, and change or vanish with it
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            notes = dict(file.metadata() or {})
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise UsageError(f"{path}: not a readable file of tensors ({error})") from error
    said = notes.pop(KEY, None)
    if said != content_hash(tensors, notes):
        lacks = "it lacks the hash of its content" if said is None else "damaged or changed"
        raise UsageError(f"{path}: not as it was written ({lacks})")
    return Weights(tensors, notes)


def content_hash(tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> str:
    """32 hexadecimal digits over names, types, shapes, bytes and notes."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor))
    digest.update("\n".join(f"{key}={value!r}" for key, value in sorted(notes.items())).encode())
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> memoryview:
    """The values of a tensor as they lie in memory."""
    import torch

    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def misfit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str | None:
    """What keeps tensors from taking the place of others: names, shapes or types; None if nothing.

    >>> misfit({}, {})
    """
    apart = sorted(found.keys() ^ expected.keys())
    if apart:
        return f"{apart[0]!r} is {'unknown' if apart[0] in found else 'missing'}"
    for name, tensor in expected.items():
        kinds = [f"{one.dtype} {tuple(one.shape)}" for one in (found[name], tensor)]
        if kinds[0] != kinds[1]:
            return f"{name!r} is {kinds[0]}, not {kinds[1]}"
    return None
