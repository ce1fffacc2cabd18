"""What makes a model's robust accuracy doubtful, seen on a few images before it is attacked.

Each finding is a flag of its records that begins with its name: `randomised`, `batch`,
`order`, `state`, `inner optimisation`, `quantised`, `abstains`; of its outputs `probabilities`,
`bounded`, `saturated`; of its gradients `gradient mode`, `no gradient`, `zero gradients`,
`missing gradients`, `gradients not finite`, `wrong gradients` (`benchmark.results.flags` says what
they mean).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.core.errors import ModelError
from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Batch
from benchmark.evaluation.behaviour import of_asking, of_company, of_first_step
from benchmark.evaluation.gradients import of_gradients
from benchmark.evaluation.logits import check_finite, expect_logits, named, near
from benchmark.evaluation.outputs import of_outputs
from benchmark.evaluation.verdicts import state_hash
from benchmark.results.answers import TOLERANCE
from benchmark.results.flags import Flag

PASSES = 5
"""Over the same images, to see whether a model answers at random (as AutoAttack's own check)."""
OF_SIZE = ("shape", "size", "channel", "dimension")
"""Words of torch where images are of another size than a network takes."""


class Probed(NamedTuple):
    """What is known of a model."""

    flags: list[Flag]
    gradient: bool
    """Whether its logits depend differentiably on the images."""


def probe(model: nn.Module, batch: Batch, classes: int) -> Probed:
    """Look at a frozen model on `batch`.

    Raises:
        ModelError: it does not answer with logits (batch, classes).
        RuntimeError: there is no memory for so many images.
        AuditError: its logits are not finite.
    """
    before = state_hash(model)
    with global_state(stream("probe")):
        with torch.no_grad():
            first = _answers(model, batch.images, classes)
            again = [model(batch.images) for _ in range(PASSES - 1)]
            steady = all(_alike(first, other) for other in again)
            odd = of_company(model, batch.images, first) if steady else [_at_random()]
            odd += of_first_step(model, batch.images, first) if not odd else []
        bounded = of_outputs(model, batch.images, first)
        found, gradient = of_gradients(model, batch, None if odd else first)
        with torch.no_grad():
            odd += of_asking(model, batch.images, first if steady else None, before)
    return Probed([*odd, *bounded, *found], gradient)


def _at_random() -> Flag:
    message = f"{PASSES} passes over the same images disagree"
    return Flag(code="randomised", message=message)


def _answers(model: nn.Module, images: Tensor, classes: int) -> Tensor:
    try:
        answers = model(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        if any(word in str(error).lower() for word in OF_SIZE):
            raise ModelError(
                f"it cannot take images of shape {tuple(images.shape[1:])} ({named(error)[:200]});"
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


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether two passes made the same way are equal up to rounding, decisions included."""
    return near(one, other, TOLERANCE) and torch.equal(one.argmax(dim=1), other.argmax(dim=1))
