"""Whether what a model returns are logits, with room above and below."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmark.core.out_of_memory import is_shortage
from benchmark.results.flags import Flag

BOUND, PILED = 0.01, 0.05
"""Share of the range of all logits that counts as its end, and of logits there that no network
reaches that is free to answer more."""
FLAT, FEWEST = 0.1, 5
"""Slope at the top of the range, as a share of that in its middle, below which outputs flatten out;
seen on so many images at least."""
UNDERFLOW, SATURATED = 104, 0.05
"""exp(-104) is 0 in float32; share of images of which that may be so."""


def of_outputs(model: nn.Module, images: Tensor, logits: Tensor) -> list[Flag]:
    """Whether logits have an end where slopes vanish: a sigmoid, a tanh, a clamp, a softmax.

    What is free to answer more meets the ends of its range once or twice, not again and again.
    Logarithms of probabilities end at 0, but no loss notices: it takes them for what they are.
    """
    total = logits.sum(dim=1)
    low, high = logits.min(), logits.max()
    if low >= 0 and torch.allclose(total, torch.ones_like(total), atol=1e-4):
        return [Flag(code="probabilities", message="outputs look like a softmax, expected logits")]
    if low == high or torch.allclose(logits.logsumexp(dim=1), torch.zeros_like(total), atol=1e-3):
        return []
    margin = BOUND * (high - low)
    piled = max(int((logits - end).abs().le(margin).sum()) for end in (low, high))
    most = max(FEWEST, PILED * logits.numel())
    if (low >= 0 and high <= 1) or piled >= most or _flattens(model, images, logits):
        return [
            Flag(
                code="bounded",
                message=f"outputs of {low:.4g} to {high:.4g} flatten out towards an end, expected "
                "logits that no sigmoid, tanh, rectifier or clamp holds back",
                value=piled if piled >= most else None,  # another sign may have told
                threshold=most if piled >= most else None,
            )
        ]
    return _of_size(logits)


def _of_size(logits: Tensor) -> list[Flag]:
    """Whether logits are so far apart that cross-entropy has no slope in float32.

    As of a temperature or a factor that is too large, or of defensive distillation (Papernot et
    al. 2016, broken by Carlini & Wagner 2017).
    """
    top = logits.topk(2, dim=1).values
    share = float((top[:, 0] - top[:, 1] > UNDERFLOW).float().mean())
    if share <= SATURATED:
        return []
    seen = f"of {share:.0%} of images the cross-entropy is flat: logits are {UNDERFLOW}"
    return [
        Flag(code="saturated", message=f"{seen} and more apart", value=share, threshold=SATURATED)
    ]


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
        except Exception as error:  # no gradient: that is another flag
            if is_shortage(error):
                raise
            return False
        sizes.append(float(slopes.flatten(1).norm(dim=1).median()))
    return sizes[0] < FLAT * sizes[1]
