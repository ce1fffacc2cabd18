"""The one training loop: the defense gives the loss, the ledger writes down what it really used.

How long training lasts is counted in epochs, or in passes of images: `passes` is the budget under
which defenses compare, since one epoch costs one of them ten times what it costs another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from baselines.training.ledger import Ledger
from baselines.training.resumable_progress import ResumableProgress
from baselines.training.snapshot import TrainingState, keep, restore
from benchmark.core.errors import AuditError
from benchmark.core.types import Batch, Progress, Split
from benchmark.data.splits import minibatches
from benchmark.evaluation.verdicts import metered

Loss = Callable[[nn.Module, Batch], Tensor]
"""The scalar to minimise, given the model in train mode and a batch."""
RAMP = 0.3
"""Share of adversarial training from initial weights over which attacks grow to their size."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: Adam, with a learning rate that falls to zero along a cosine."""

    epochs: int
    lr: float = 3e-3
    batch_size: int = 64
    passes: int = 0
    """Passes of images, forward and backward, after which training ends; 0: after `epochs`."""
    replays: int = 1
    """Updates on each batch, one after the other."""
    ramp: float = 0.0
    """Share of the schedule over which attacks grow to their full size. Whoever meets eps = 0.3 on
    MNIST with initial weights learns to call everything a one."""


def train(
    model: nn.Module, data: Split, loss: Loss, schedule: Schedule, ledger: Ledger,
    progress: Progress, rng: torch.Generator,
) -> None:  # fmt: skip
    """Minimise `loss` on `data` for as long as the schedule says; leaves the model in train mode.

    A budget of passes ends with the first update that reaches it: less than one batch over. Where
    `progress` is a `ResumableProgress`, a killed training goes on after the last epoch kept.

    Raises:
        AuditError: the loss is not finite; says at which epoch.
    """
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), lr=schedule.lr)
    epoch_updates = math.ceil(len(data) / schedule.batch_size) * schedule.replays
    resumable, state = ResumableProgress.of(progress), TrainingState(model, optimizer, ledger, rng)
    fresh = {"epochs": 0, "since": [ledger.passes, ledger.updates]}
    notes = restore(resumable, state, fresh)
    done = clock(ledger, schedule.epochs * epoch_updates, schedule.passes, notes["since"])
    model.train()
    epoch = notes["epochs"]
    while done() < 1:
        epoch += 1
        for batch in replayed(minibatches(data, schedule.batch_size, rng), schedule.replays):
            if done() >= 1:
                break
            fall_along_cosine(optimizer, done())
            ledger.strength = min(1.0, done() / schedule.ramp) if schedule.ramp else 1.0
            with metered(model, ledger.meter):
                descend(loss(model, batch.to(device)), optimizer, f"epoch {epoch}")
            ledger.update(len(batch.labels))
        if resumable.due():
            keep(resumable, state, {**notes, "epochs": epoch})
        resumable(min(done(), 1.0))


def clock(
    ledger: Ledger, updates: int, passes: int, since: Sequence[int] = (0, 0)
) -> Callable[[], float]:
    """Says which share of a budget is used: of `passes`, or of `updates` if that is 0.

    `since` is what the ledger held of both when the budget was given.
    """
    if passes:
        return lambda: (ledger.passes - since[0]) / passes
    return lambda: (ledger.updates - since[1]) / updates if updates else 1.0


def replayed(batches: Iterable[Batch], times: int) -> Iterator[Batch]:
    """Each batch so many times before the next."""
    for batch in batches:
        yield from repeat(batch, times)


def fall_along_cosine(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Rates are their first ones * (1 + cos(pi * share)) / 2 (Loshchilov & Hutter 2017)."""
    for group in optimizer.param_groups:
        first = group.setdefault("initial_lr", group["lr"])
        group["lr"] = first * (1 + math.cos(math.pi * share)) / 2


def descend(value: Tensor, optimizer: torch.optim.Optimizer, when: str) -> None:
    """One optimiser step down `value`; AuditError saying `when` if it is not finite."""
    if not value.isfinite():
        raise AuditError(
            f"training diverged: the loss is {value.item()} at {when}; try a lower learning rate"
        )
    optimizer.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def classification_loss(model: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy."""
    return cross_entropy(model(batch.images), batch.labels)
