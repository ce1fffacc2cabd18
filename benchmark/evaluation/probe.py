"""What makes a model's robust accuracy doubtful, seen on a few images before it is attacked.

Each finding is a flag of its records that begins with its name: `randomised`, `batch`,
`probabilities`, `bounded`, `gradient mode`, `no gradient`, `zero gradients`, `missing gradients`,
`gradients not finite`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark.core.errors import ModelError
from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Batch
from benchmark.evaluation.logits import check_finite, expect_logits
from benchmark.results.answers import TOLERANCE

PASSES = 5
"""Over the same images, to see whether a model answers at random (as AutoAttack's own check)."""
OTHER_SIZE = 0.02
"""The same where the number of images differs, of networks that compute in half precision."""
BOUND, PILED = 0.01, 0.05
"""Share of the range of all logits that counts as its end, and of logits there that no network
reaches that is free to answer more."""
FLAT, FEWEST = 0.1, 5
"""Slope at the top of the range, as a share of that in its middle, below which outputs flatten out;
seen on so many images at least."""
OF_SIZE = ("shape", "size", "channel", "dimension")
"""Words of torch where images are of another size than a network takes."""
ALONE = 8
"""Images that are asked about one by one."""


class Probed(NamedTuple):
    """What is known of a model."""

    flags: list[str]
    gradient: bool
    """Whether its logits depend differentiably on the images."""


def probe(model: nn.Module, batch: Batch, classes: int) -> Probed:
    """Look at a frozen model on `batch`.

    Raises:
        ModelError: it does not answer with logits (batch, classes).
        AuditError: its logits are not finite.
    """
    with global_state(stream("probe")):
        with torch.no_grad():
            first = _answers(model, batch.images, classes)
            again = [model(batch.images) for _ in range(PASSES - 1)]
            steady = all(_alike(first, other) for other in again)
            if steady:
                odd = _of_company(model, batch.images, first)
            else:
                odd = [f"randomised: {PASSES} passes over the same images disagree"]
        bounded = _of_range(model, batch.images, first, classes)
        found, gradient = _of_gradients(model, batch, None if odd else first)
    return Probed([*odd, *bounded, *found], gradient)


def _answers(model: nn.Module, images: Tensor, classes: int) -> Tensor:
    try:
        answers = model(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        if any(word in str(error).lower() for word in OF_SIZE):
            raise ModelError(
                f"it cannot take images of shape {tuple(images.shape[1:])} ({_named(error)[:200]});"
                " expected a model made for this size: train or choose one, or resize the images"
            ) from error
        raise
    logits = expect_logits(answers, len(images))
    if logits.device != images.device:
        raise ModelError(
            f"expected logits on {images.device}, where the images are, got them on {logits.device}"
        )
    if logits.shape[1] != classes:
        raise ModelError(
            f"expected the model to return a logit for each of {classes} classes, "
            f"got {logits.shape[1]}"
        )
    check_finite(logits)
    return logits


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _near(one: Tensor, other: Tensor, share: float) -> bool:
    """Whether logits are apart by no more than a share of the largest."""
    return bool((one - other).abs().max() <= share * one.abs().max())


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two passes made the same way are equal up to rounding, decisions included."""
    return _near(one, other, TOLERANCE) and torch.equal(one.argmax(dim=1), other.argmax(dim=1))


def _of_company(model: nn.Module, images: Tensor, first: Tensor) -> list[str]:
    """Whether an image's answer depends on the others in its batch.

    Beside others, in as large a batch and at the same place, a sound one is the same but for the
    last bits; in a batch of another size every sum may be rounded otherwise.
    """
    half = len(images) // 2
    dim, bright = images / 2, 1 - images[half:].flip(0)
    try:
        usual, others = model(dim)[:half], model(torch.cat([dim[:half], bright]))[:half]
        beside = half == 0 or _near(usual, others, TOLERANCE)
        parts = [model(images[row : row + 1]) for row in range(min(ALONE, len(images)))]
        alone = _near(first[: len(parts)], torch.cat(parts), OTHER_SIZE)
    except Exception as error:
        return [f"batch: the model does not answer a single image ({_named(error)})"]
    if beside and alone:
        return []
    return ["batch: an image's logits depend on the images that share its batch"]


def _of_range(model: nn.Module, images: Tensor, logits: Tensor, classes: int) -> list[str]:
    """Whether logits have an end where slopes vanish: a sigmoid, a tanh, a clamp, a softmax.

    What is free to answer more meets the ends of its range once or twice, not again and again.
    Logarithms of probabilities end at 0, but no loss notices: it takes them for what they are.
    """
    flags: list[str] = []
    total = logits.sum(dim=1)
    low, high = logits.min(), logits.max()
    if low >= 0 and torch.allclose(total, torch.ones_like(total), atol=1e-4):
        return [*flags, "probabilities: outputs look like a softmax, expected logits"]
    if low == high or torch.allclose(logits.logsumexp(dim=1), torch.zeros_like(total), atol=1e-3):
        return flags
    margin = BOUND * (high - low)
    piled = max(int((logits - end).abs().le(margin).sum()) for end in (low, high))
    most = max(FEWEST, PILED * logits.numel())
    if (low >= 0 and high <= 1) or piled >= most or _flattens(model, images, logits):
        flags.append(
            f"bounded: outputs of {low:.4g} to {high:.4g} flatten out towards an end, expected "
            "logits that no sigmoid, tanh, rectifier or clamp holds back"
        )
    return flags


def _flattens(model: nn.Module, images: Tensor, logits: Tensor) -> bool:
    """Whether outputs near the top of their range hardly have a slope, while those in it have."""
    low, high = logits.min(), logits.max()
    share = (logits - low) / (high - low)
    sizes = []
    for place, width in ((1.0, 0.15), (0.5, 0.25)):
        chosen = (share - place).abs().min(dim=1)
        rows = (chosen.values <= width).nonzero().flatten()
        if len(rows) < FEWEST:
            return False
        columns = chosen.indices[rows]
        try:
            with torch.enable_grad():
                asked = images[rows].requires_grad_()
                outputs = model(asked)[torch.arange(len(rows)), columns]
            (slopes,) = torch.autograd.grad(outputs.sum(), asked)
        except Exception:  # no gradient: that is another flag
            return False
        sizes.append(float(slopes.flatten(1).norm(dim=1).median()))
    return sizes[0] < FLAT * sizes[1]


def _of_gradients(
    model: nn.Module, batch: Batch, expected: Tensor | None
) -> tuple[list[str], bool]:
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
                return ["no gradient: logits do not depend differentiably on the images"], False
            loss = cross_entropy(logits, labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, images, materialize_grads=True)
    except Exception as error:
        return [f"no gradient: asking for one fails ({_named(error)})"], False
    count, flags = len(batch.labels), []
    if expected is not None and not _near(expected, logits[:count].detach(), OTHER_SIZE):
        flags.append("gradient mode: logits are others where a gradient is asked for")
    per_image = gradient[:count].flatten(1)
    odd = float((~per_image.isfinite()).any(dim=1).float().mean())
    if odd > 0:
        flags.append(f"gradients not finite: of {odd:.0%} of images, gradient attacks are blind")
    zero = float((per_image.abs().amax(dim=1) == 0).float().mean())
    if zero > 0:
        flags.append(f"zero gradients: {zero:.0%} of images give none, gradient attacks are blind")
    elif expected is not None:
        flags += _of_parts(model, batch.images, (gradient == 0).all(dim=0), expected)
    return flags, True


@torch.no_grad()
def _of_parts(model: nn.Module, images: Tensor, flat: Tensor, first: Tensor) -> list[str]:
    """Whether values that have no slope in any image (bool (channels, height, width)) matter."""
    if not flat.any() or _near(first, model(torch.where(flat, 1 - images, images)), TOLERANCE):
        return []
    return [
        f"missing gradients: {int(flat.sum())} of {flat.numel()} values of an image move the "
        "logits, but have no gradient"
    ]
