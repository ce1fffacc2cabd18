"""What the first look at a model found, before any attack."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.audit.compared import share
from benchmark.audit.subject import Subject
from benchmark.results.audits import Checked

SOME = 100
"""Images that are asked about, as many as at the first look."""


def model(subject: Subject) -> Checked:
    """The flags of `benchmark.evaluation.probe`, which looks at every model before it is scored.

    They are those of its records, whatever the number of images audited. Attacks with nothing.
    """
    harmless = harmless_of(subject.model, subject.batch.images[:SOME])
    numbers = {"clean accuracy": share(subject.right()), **harmless}
    return Checked(flags=[*subject.trained.found], numbers=numbers)


@torch.no_grad()
def harmless_of(model: nn.Module, images: Tensor) -> dict[str, float | None]:
    """What is unusual of a model and misleads no attack, so that nothing is flagged.

    Losses take logarithms of probabilities for what they are, and each pass is handed a copy of
    the images, as `frozen` makes it. A wrong number of classes is refused at the first look.
    """
    handed: list[Tensor] = []
    hook = model.register_forward_hook(lambda _module, inputs, _: handed.append(inputs[0]))
    try:
        logits = model(images)
    finally:
        hook.remove()
    normalised = logits.logsumexp(dim=1).abs() < 1e-3
    return {
        "classes": float(logits.shape[1]),
        "outputs that are log-probabilities": share(normalised),
        "images that a pass writes to": share((handed[0] != images).flatten(1).any(dim=1)),
    }
