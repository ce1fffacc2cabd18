"""The log of a training, a row an epoch or an iteration: `pandas.read_csv` reads it."""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.training.ledger import Ledger

HEADER = "step,updates,passes,seconds,lr,loss,robust\n"
"""Epoch or iteration; the four that follow count from the begin of training; the loss is a mean."""


def row_of(
    step: int, ledger: Ledger, optimizer: torch.optim.Optimizer, losses: Tensor,
    robust: float | None = None,
) -> str:  # fmt: skip
    """One line; `robust` is a share of the images held out, left empty where there are none."""
    last = "" if robust is None else f"{robust:.4f}"
    return (
        f"{step},{ledger.updates},{ledger.passes},{ledger.meter.seconds:.2f},"
        f"{optimizer.param_groups[0]['lr']:.3g},{float(losses.double().mean()):.5f},{last}\n"
    )
