"""The loop of meta-training, and the test of what it gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import nn

from baselines.adaptation import adapt
from baselines.meta_learning import Learner, outer_gradient
from baselines.meta_probe import meta_gradient_probe
from baselines.meta_settings import MetaSettings
from baselines.meta_tasks import Task, check_pool, construct_adv_task_set
from baselines.step_sizes import attach
from baselines.training import Ledger, clock, fall_along_cosine
from benchmark.core.errors import AuditError
from benchmark.core.records import Budget
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Progress
from benchmark.data import Split
from benchmark.evaluation import Meter, frozen, survives


def meta_train(
    model: nn.Module, data: Split, attacks: Sequence[Attack], settings: MetaSettings,
    ledger: Ledger, progress: Progress, rng: torch.Generator,
) -> None:  # fmt: skip
    """min_theta sum_i L(theta_i', T_i,adv) with Adam, the learning rate falling along a cosine.

    The model is kept in eval mode: running statistics are state that a pure inner loop may not
    write, so a network that has them uses those it got before (`warmup_epochs`). Learned step
    sizes are left in the model, see `baselines.step_sizes`.

    Raises:
        UsageError: the tasks need more images than `data` has, or of a class it has none of.
        AuditError: a loss or gradient is not finite; says at which iteration and on which attack.
    """
    model.eval()
    check_pool(data, _classes(model, data), settings)
    if settings.iterations:
        ledger.probes |= meta_gradient_probe(model, data, attacks, settings)
    learner = Learner.of(model, settings, ledger)
    groups = [
        {"params": list(model.parameters()), "lr": settings.outer_lr},
        {"params": list(learner.logarithms.values()), "lr": settings.step_sizes_lr},
    ]
    optimizer = torch.optim.Adam([group for group in groups if group["params"]])
    done = clock(ledger, settings.iterations, settings.passes)
    next_tasks = task_source(model, data, attacks, settings, ledger, rng)
    iteration = 0
    while done() < 1:
        iteration += 1
        fall_along_cosine(optimizer, done())
        optimizer.zero_grad()
        with timed(ledger.meter):
            tasks = next_tasks()
            try:
                outer_gradient(learner, tasks)
            except AuditError as error:
                raise AuditError(
                    f"training diverged at meta-iteration {iteration}: {error}; "
                    "try a lower learning rate"
                ) from error
            optimizer.step()
        ledger.update(sum(len(task.support.labels) + len(task.query.labels) for task in tasks))
        progress(min(done(), 1.0))
    attach(model, learner.step_sizes())


@contextmanager
def timed(meter: Meter) -> Iterator[None]:
    """Book the time of a whole step; attacks in it book theirs, which is part of it."""
    begin, booked = time.perf_counter(), meter.seconds
    yield
    meter.seconds = booked + time.perf_counter() - begin


@torch.no_grad()
def _classes(model: nn.Module, data: Split) -> int:
    device = next(model.parameters()).device
    return int(model(data.images(slice(1)).to(device)).shape[1])


def task_source(
    model: nn.Module, data: Split, attacks: Sequence[Attack], settings: MetaSettings,
    ledger: Ledger, rng: torch.Generator,
) -> Callable[[], list[Task]]:  # fmt: skip
    """Gives the tasks of the next iteration: made anew, or drawn from a pool that is made here."""
    if settings.pool == "rebuilt":
        return lambda: construct_adv_task_set(model, data, attacks, settings, ledger, rng)
    whole = replace(settings, tasks=settings.pool_size)
    pool = construct_adv_task_set(model, data, attacks, whole, ledger, rng)

    def draw() -> list[Task]:
        chosen = torch.randperm(len(pool), generator=rng)[: settings.tasks]
        return [pool[index] for index in chosen.tolist()]

    return draw


def meta_test(
    model: nn.Module, attack: Attack, shown: Batch, query: Batch, budget: Budget,
    rng: torch.Generator,
) -> float:  # fmt: skip
    """Adapt to a new attack by the inner update, attack the adapted model, return its accuracy."""
    adapted = adapt(frozen(model), budget, lambda _: shown)
    dealt = Streams.dealt(rng, len(query.labels))
    verdicts, _ = survives(attack, adapted.model, query, Meter(), dealt)
    return float(verdicts.float().mean())
