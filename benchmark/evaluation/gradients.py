"""Whether a model gives gradients, and whether they can be followed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.core.out_of_memory import is_shortage
from benchmark.core.types import Batch
from benchmark.evaluation.logits import OTHER_SIZE, named, near
from benchmark.evaluation.slopes import of_slopes
from benchmark.results.answers import TOLERANCE
from benchmark.results.flags import Flag


def of_gradients(
    model: nn.Module, batch: Batch, expected: Tensor | None
) -> tuple[list[Flag], bool]:
    """What is wrong with gradients, and whether there are any.

    `expected`: the usual logits, where it means something that these are others.
    """
    noise = torch.rand(batch.images.shape).to(batch.images.device)
    images = torch.cat([batch.images, noise]).requires_grad_()
    labels = batch.labels.repeat(2)
    try:
        with torch.enable_grad():
            logits = model(images)
            if not logits.requires_grad:
                return [_none("logits do not depend differentiably on the images")], False
            loss = cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images, materialize_grads=True)
    except Exception as error:
        if is_shortage(error):
            raise
        return [_none(f"asking for one fails ({named(error)})")], False
    count = len(batch.labels)
    flags: list[Flag] = []
    if expected is not None and not near(expected, logits[:count].detach(), OTHER_SIZE):
        message = "logits are others where a gradient is asked for"
        flags.append(Flag(code="gradient mode", message=message))
    per_image = gradient[:count].flatten(1)
    odd = float((~per_image.isfinite()).any(dim=1).float().mean())
    if odd > 0:
        message = f"of {odd:.0%} of images, gradient attacks are blind"
        flags.append(Flag(code="gradients not finite", message=message, value=odd, threshold=0))
    zero = float((per_image.abs().amax(dim=1) == 0).float().mean())
    if zero > 0:
        message = f"{zero:.0%} of images give none, gradient attacks are blind"
        flags.append(Flag(code="zero gradients", message=message, value=zero, threshold=0))
    elif expected is not None:
        flags += _of_parts(model, batch.images, (gradient == 0).all(dim=0), expected)
    if not flags and expected is not None:  # each of these would be the reason
        flags = of_slopes(model, batch.images, logits.shape[1])
    return flags, True


def _none(message: str) -> Flag:
    return Flag(code="no gradient", message=message)


@torch.no_grad()
def _of_parts(model: nn.Module, images: Tensor, flat: Tensor, first: Tensor) -> list[Flag]:
    """Whether values that have no slope in any image (bool (channels, height, width)) matter."""
    if not flat.any() or near(first, model(torch.where(flat, 1 - images, images)), TOLERANCE):
        return []
    message = (
        f"{int(flat.sum())} of {flat.numel()} values of an image move the logits, but have no "
        "gradient"
    )
    share = float(flat.float().mean())
    return [Flag(code="missing gradients", message=message, value=share, threshold=0)]
