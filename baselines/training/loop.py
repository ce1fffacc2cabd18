"""The one training loop: the defense gives the loss, the ledger writes down what it really used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from baselines.training.augmentation import augmented
from baselines.training.final_weights import FinalWeights, hold_out
from baselines.training.ledger import Ledger
from baselines.training.resumable_progress import ResumableProgress
from baselines.training.schedule import Schedule, clock, follow_cosine
from baselines.training.snapshot import TrainingState, keep, restore
from baselines.training.training_log import HEADER, row_of
from benchmark.core.errors import AuditError
from benchmark.core.types import Attack, Batch, Progress, Split
from benchmark.data.splits import minibatches
from benchmark.evaluation.verdicts import metered

Loss = Callable[[nn.Module, Batch], Tensor]
"""The scalar to minimise, given the model in train mode and a batch."""
RAMP = 0.3
"""Share of adversarial training from initial weights over which attacks grow to their size."""


def train(  # noqa: PLR0913, PLR0917 (one argument for each thing that differs between defenses)
    model: nn.Module, data: Split, loss: Loss, schedule: Schedule, ledger: Ledger,
    progress: Progress, rng: torch.Generator, watched: Sequence[Attack] = (),
) -> None:  # fmt: skip
    """Minimise `loss` on `data` for as long as the schedule says; leaves the model in train mode.

    A budget of passes ends with the first update that reaches it: less than one batch over. Where
    `progress` is a `ResumableProgress`, a killed training goes on after the last epoch kept, and a
    log is written beside the model. `watched` are the attacks of early stopping.

    Raises:
        AuditError: the loss is not finite; says at which epoch.
    """
    device = next(model.parameters()).device
    data, held_out = hold_out(data, schedule.early_stopping)
    optimizer, replays = schedule.make_optimizer(model), max(1, schedule.replays)
    epoch_updates = math.ceil(len(data) / schedule.batch_size) * replays
    final = FinalWeights(model, schedule.average, held_out)
    resumable = ResumableProgress.of(progress)
    state = TrainingState(model, optimizer, ledger, rng, final.tensors)
    fresh: dict[str, Any] = {
        "epochs": 0, "since": [ledger.passes, ledger.updates], "best": 0.0, "log": HEADER,
    }  # fmt: skip
    notes = restore(resumable, state, fresh)
    done = clock(ledger, schedule.epochs * epoch_updates, schedule.passes, notes["since"])
    model.train()
    while done() < 1:
        notes["epochs"] += 1
        losses = []
        for batch in replayed(minibatches(data, schedule.batch_size, rng), replays):
            if done() >= 1:
                break
            follow_cosine(optimizer, done(), schedule.warmup)
            ledger.strength = min(1.0, done() / schedule.ramp) if schedule.ramp else 1.0
            views = augmented(batch.to(device), schedule.augment, rng)
            with metered(model, ledger.meter):
                with in_precision(device, schedule.precision):
                    value = loss(model, views)
                descend(value, optimizer, f"epoch {notes['epochs']}")
            final.update()
            ledger.update(len(batch.labels))
            losses.append(value.detach())
        robust = final.robust(watched, ledger.meter)
        if robust is not None and robust >= notes["best"]:
            final.keep()
            notes["best"] = robust
        notes["log"] += row_of(notes["epochs"], ledger, optimizer, torch.stack(losses), robust)
        if resumable.due():
            keep(resumable, state, notes)
            resumable.log(notes["log"])
        resumable(min(done(), 1.0))
    resumable.log(notes["log"])
    final.finish()


def in_precision(device: torch.device, precision: str) -> torch.autocast:
    """Where passes through a network run in bfloat16, or in float32 as ever."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def replayed(batches: Iterable[Batch], times: int) -> Iterator[Batch]:
    """Each batch so many times before the next."""
    for batch in batches:
        yield from repeat(batch, times)


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
