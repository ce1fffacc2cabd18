"""Numbers that explain pairs, found by Adam (Kingma & Ba 2015)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def descended(
    begin: Sequence[Tensor], rates: Sequence[float], loss: Callable[..., Tensor], steps: int
) -> list[Tensor]:
    """Tensors from `begin` down the slope of `loss`; each of `rates` falls to nothing in a line."""
    with torch.enable_grad():
        numbers = [one.clone().requires_grad_() for one in begin]
        groups = [{"params": [one], "lr": rate} for one, rate in zip(numbers, rates, strict=True)]
        optimizer = torch.optim.Adam(groups)
        for step in range(steps):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * (1 - step / steps)
            optimizer.zero_grad()
            loss(*numbers).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return [one.detach() for one in numbers]
