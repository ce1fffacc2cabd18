"""How many images are asked about or attacked at once: as many as fit in memory.

The sizes depend on the network, the attack and the images alone, not on who computes where: so
neither do the last bits of what is found.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmark.core.model_access import select_rows
from benchmark.core.types import Attack

PIXELS = 500 * 28 * 28
"""Of as many images as surely fit, whatever the network."""
ROOM = {"cpu": 24 << 20, "cuda": 4 << 30}
"""Bytes that a pass over the images attacked at once should keep for its way back: what a cache
holds, or the memory."""
MIN_BATCH, MAX_BATCH = {"cpu": 100, "cuda": 1}, {"cpu": 500, "cuda": 2000}
"""Images attacked at once, however much or little they keep."""
TINY = 64 * 28 * 28
"""Pixels up to which images go at once: a pass over them costs little more than one over half."""
COSTLY, FEWER = 2000, 250
"""Passes of an attack over an image from which on a CPU it gets at most so many images at once, so
that several workers can share them: some seconds of work then."""


def is_costly(attack: Attack) -> bool:
    """Whether several workers may share what it does to one group's images."""
    return attack.passes >= COSTLY


def one_by_one(attack: Attack, images: Tensor) -> bool:
    """Whether adapted models are attacked one after the other, not in one batch.

    So that several workers can share them: where the images of one, on a CPU, are enough at once.
    """
    return is_costly(attack) and images.device.type == "cpu" and images.numel() > TINY


def pieces(images: Tensor, size: int | None = None, *, even: bool = False) -> Iterator[Tensor]:
    """Rows (int64) of equal pieces of at most `size` images; by default what surely fits.

    `even`: one piece or an even number, since three take two workers as long as four.
    """
    count = -(-len(images) // (size or safe_batch_size(images)))
    if even and count > 1:
        count += count % 2
    if count:
        yield from torch.arange(len(images), device=images.device).tensor_split(count)


def safe_batch_size(images: Tensor) -> int:
    """How many images of this shape fit."""
    return max(1, min(1000, PIXELS // images.shape[1:].numel()))


def pieces_for(attack: Attack, model: nn.Module, images: Tensor) -> list[Tensor]:
    """Rows (int64) that `attack` gets at once."""
    kind, size = images.device.type, safe_batch_size(images)
    kept = activation_bytes(model, images) if images.numel() > TINY else None
    if kept is not None:
        least = min(MIN_BATCH[kind], size)  # of large images fewer surely fit
        size = min(MAX_BATCH[kind], max(least, ROOM[kind] // max(1, kept)))
    if not is_costly(attack) or kind != "cpu":
        return list(pieces(images, size))
    fewer = max(FEWER, TINY // images.shape[1:].numel())
    return list(pieces(images, min(size, fewer), even=True))


def activation_bytes(model: nn.Module, images: Tensor) -> int | None:
    """Bytes that a pass keeps for each image until its gradient is asked for.

    None of a model that does not answer one or two images: whatever it is, its attack meets it.
    """
    try:
        few, many = (_kept(model, images[:count]) for count in (1, 2))
    except Exception:
        return None
    return max(0, many - few)  # what does not grow with the images, such as weights, cancels out


def _kept(model: nn.Module, images: Tensor) -> int:
    sizes = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.nbytes)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    rows = torch.arange(len(images), device=images.device)
    with torch.enable_grad(), hooks:
        select_rows(model, rows)(images.detach().requires_grad_())
    return sum(sizes)
