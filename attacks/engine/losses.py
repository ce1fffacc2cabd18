"""Margins between the own class and the others: logits (rows, classes) and labels in, (rows,) out.

The cross-entropy is `attacks.engine.search.own_loss`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def margin_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Lead of the own class over the strongest other one, (rows,): 0 or less if misclassified."""
    own = labels[:, None]
    strongest = logits.scatter(1, own, -torch.inf).amax(dim=1)
    return logits.gather(1, own)[:, 0] - strongest


def margin_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio, (batch,): invariant to the scale of the logits.

    -(z_y - max_{i != y} z_i) / (z_(1) - z_(3)), with z_(k) the k-th largest logit (Croce & Hein
    2020). Where the cross-entropy of a model with huge logits has no gradient left, this one still
    has. Two classes have no third: there it is the difference of logits as it is.
    """
    ordered, order = logits.sort(dim=1, descending=True)
    own = logits.gather(1, labels[:, None]).squeeze(1)
    first = order[:, 0] == labels
    other = torch.where(first, ordered[:, 1], ordered[:, 0])
    if logits.shape[1] < 3:
        return other - own
    return (other - own) / (ordered[:, 0] - ordered[:, 2]).clamp_min(1e-12)


def probability_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """log(1 + max_{j != y} p_j - p_y), (rows,), from the margin of probabilities (2411.15210).

    The margin itself rounds to -1 where a network is sure, and has no gradient left. Its logarithm
    is higher where it is higher, with a gradient of the same direction, and Auto-PGD asks no more.
    """
    others = logits.log_softmax(dim=1).scatter(1, labels[:, None], -torch.inf)
    return torch.logaddexp(others.logsumexp(dim=1), others.amax(dim=1))
