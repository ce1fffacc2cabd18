"""Whether a model answers about an image, whatever is around the question.

Not on the images beside it, nor its place, nor on having been asked; in one pass, without an
optimiser of its own; and to every image, however slightly it moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmark.core.out_of_memory import is_shortage
from benchmark.evaluation.logits import OTHER_SIZE, named, near
from benchmark.evaluation.verdicts import state_hash
from benchmark.results.answers import TOLERANCE
from benchmark.results.flags import Flag

ALONE = 8
"""Images that are asked about one by one."""
MOVE, UNMOVED = 1e-3, 0.5
"""How far every value of an image moves, and the share of images whose logits may stay as they are
to the last bit: a step of 1/16 lets through one value in 60."""
NOISE, SAME = 0.3, 0.1
"""Size of uniform noise, and the share of images under it that may get equal logits."""
SLOPES = {torch.autograd.grad, torch.autograd.backward, Tensor.backward}


def of_company(model: nn.Module, images: Tensor, first: Tensor) -> list[Flag]:
    """Whether an image's answer depends on the others in its batch, or on its place among them.

    Beside others, in as large a batch and at the same place, a sound one is the same but for the
    last bits; elsewhere every sum may be rounded otherwise.
    """
    half = len(images) // 2
    dim, bright = images / 2, 1 - images[half:].flip(0)
    try:
        usual, others = model(dim)[:half], model(torch.cat([dim[:half], bright]))[:half]
        beside = half == 0 or near(usual, others, TOLERANCE)
        parts = [model(images[row : row + 1]) for row in range(min(ALONE, len(images)))]
        alone = near(first[: len(parts)], torch.cat(parts), OTHER_SIZE)
    except Exception as error:
        if is_shortage(error):
            raise
        message = f"the model does not answer a single image ({named(error)})"
        return [Flag(code="batch", message=message)]
    if not (beside and alone):
        message = "an image's logits depend on the images that share its batch"
        return [Flag(code="batch", message=message)]
    if not near(first, model(images.flip(0)).flip(0), OTHER_SIZE):
        return [Flag(code="order", message="an image's logits depend on its place in the batch")]
    return []


def of_first_step(model: nn.Module, images: Tensor, first: Tensor) -> list[Flag]:
    """Whether small moves are rounded away, and whether odd images are all answered alike."""
    inwards = torch.where(images < 0.5, MOVE, -MOVE)
    one, other = model(images + inwards / 2), model(images + inwards)  # off the edges of a step
    still = float((one == other).all(dim=1).float().mean())
    if still > UNMOVED:
        message = f"logits of {still:.0%} of images stay as they are when every value moves"
        told = Flag(
            code="quantised", message=f"{message} by {MOVE / 2}", value=still, threshold=UNMOVED
        )
        return [told]
    return _of_noise(model, images, first)


def _of_noise(model: nn.Module, images: Tensor, first: Tensor) -> list[Flag]:
    noise = torch.rand(images.shape).to(images.device)
    moved = (images + NOISE * (2 * noise - 1)).clamp(0, 1)
    usual, same = _share_alike(first), _share_alike(model(moved))
    if same - usual <= SAME:
        return []
    message = f"{same:.0%} of images under noise get one and the same answer, {usual:.0%} without"
    return [Flag(code="abstains", message=message, value=same - usual, threshold=SAME)]


def _share_alike(logits: Tensor) -> float:
    """Share of rows that are equal to an earlier one."""
    return 1 - len(torch.unique(logits, dim=0)) / len(logits)


def of_asking(
    model: nn.Module, images: Tensor, first: Tensor | None, before: str
) -> list[Flag]:  # fmt: skip
    """Whether a model is another one after it was asked, and whether it optimises to answer.

    Args:
        model: that was asked many times since.
        images: what it was asked about.
        first: what it answered then; None where every answer is another.
        before: its state hash then.
    """
    watch = _Watch()
    with watch:
        now = model(images)
    flags = []
    if watch.slopes:
        message = f"one pass asks for gradients {watch.slopes} times"
        flags.append(
            Flag(code="inner optimisation", message=message, value=watch.slopes, threshold=0)
        )
    if state_hash(model) != before:
        flags.append(Flag(code="state", message="weights or buffers change when it is asked"))
    elif first is not None and not near(first, now, TOLERANCE):
        flags.append(Flag(code="state", message="it answers otherwise after it was asked often"))
    return flags


class _Watch(TorchFunctionMode):
    """Counts how often gradients are asked for."""

    slopes = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """See `TorchFunctionMode`."""
        if func in SLOPES:
            self.slopes += 1
        return func(*args, **(kwargs or {}))
