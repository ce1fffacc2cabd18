"""A trained model's answers on the probe images: see `benchmark.results.answers`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.core.seeding import global_state, stream
from benchmark.core.types import Split
from benchmark.data.splits import Dataset
from benchmark.results.answers import Answers, same

OF_EACH = 8
"""Images that are clean, the same with noise, and as many of noise alone: a model may have changed
where attacks go and not where its data is."""
NOISE = 0.2
NUMBERS, FEWEST = 2000, 4
"""Logits that are kept, about; of so many images at least."""


def answers_of(model: nn.Module, dataset: Dataset, device: str) -> Answers | None:
    """What a frozen model answers; None where that says nothing, since it answers otherwise again.

    It is asked under a seed, so that drawing random numbers alone is no such reason.
    """
    images = probe_images(dataset.validation).to(device)
    found = [_asked(model, images) for _ in range(2)]
    first, second = found
    return first if first and second and same(first, second) else None


def probe_images(validation: Split) -> Tensor:
    """Always the same: images float32 in [0, 1], the three kinds in turn."""
    clean = validation.first(OF_EACH).batch().images
    noise = torch.randn(clean.shape, generator=stream("answers", "noise"))
    pure = torch.rand(clean.shape, generator=stream("answers", "images"))
    kinds = torch.stack([clean, (clean + NOISE * noise).clamp(0, 1), pure], dim=1)
    return kinds.flatten(0, 1)


@torch.no_grad()
def _asked(model: nn.Module, images: Tensor) -> Answers | None:
    try:
        with global_state(stream("answers")):
            logits = model(images.clone()).float().cpu()
        kept = max(FEWEST, NUMBERS // max(1, logits.shape[1]))
        return Answers.pack(logits[:kept].numpy())
    except Exception:  # no logits, or none that are finite: its cells say so
        return None
