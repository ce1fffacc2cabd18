"""The loop of meta-training, and the test of what it gives."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from baselines.meta.algorithms import Learner, outer_gradient
from baselines.meta.probe import meta_gradient_probe
from baselines.meta.settings import MetaSettings
from baselines.meta.task_pool import check_pool, fixed_pool, images_of
from baselines.meta.tasks import construct_adv_task_set
from baselines.training.ledger import Ledger
from baselines.training.resumable_progress import ResumableProgress
from baselines.training.schedule import clock, follow_cosine
from baselines.training.snapshot import TrainingState, keep, restore
from baselines.training.training_log import HEADER, row_of
from benchmark.adaptation.adapt import adapt
from benchmark.adaptation.step_sizes import attach
from benchmark.core.errors import AuditError
from benchmark.core.streams import Streams
from benchmark.core.types import Attack, Batch, Progress, Split
from benchmark.evaluation.verdicts import Meter, frozen, survives
from benchmark.results.records import Budget


def meta_train(
    model: nn.Module, data: Split, attacks: Sequence[Attack], settings: MetaSettings,
    ledger: Ledger, progress: Progress, rng: torch.Generator,
) -> None:  # fmt: skip
    """min_theta sum_i L(theta_i', T_i,adv) with Adam, the learning rate falling along a cosine.

    The model is kept in eval mode: running statistics are state that a pure inner loop may not
    write, so a network that has them uses those it got before (`warmup_epochs`). Learned step
    sizes are left in the model, see `benchmark.adaptation.step_sizes`.

    Raises:
        UsageError: the tasks need more images than `data` has, or of a class it has none of.
        AuditError: a loss or gradient is not finite; says at which iteration, on which attack, and
            where the last finite weights are; or the probe finds no meta-gradient.
    """
    model.eval()
    check_pool(data, _classes(model, data), settings)
    learner, resumable = Learner.of(model, settings, ledger), ResumableProgress.of(progress)
    optimizer = _optimizer(learner)
    pool = fixed_pool(model, data, attacks, settings, ledger, rng)
    state = TrainingState(model, optimizer, ledger, rng, {**learner.logarithms, **images_of(pool)})
    left = settings.passes and max(1, settings.passes - ledger.passes)
    fresh: dict[str, Any] = {
        "iterations": 0, "passes": left, "since": [ledger.passes, ledger.updates], "log": HEADER,
    }  # fmt: skip
    notes = restore(resumable, state, fresh)
    done = clock(ledger, settings.iterations, notes["passes"], notes["since"])
    if done() == 0:
        ledger.probes |= meta_gradient_probe(model, data, attacks, settings)
    while done() < 1:
        follow_cosine(optimizer, done())
        with timed(ledger.meter), diverging(resumable, state, notes):
            if settings.pool == "fixed":
                chosen = torch.randperm(len(pool), generator=rng)[: settings.tasks]
                tasks = [pool[place] for place in chosen.tolist()]
            else:
                tasks = construct_adv_task_set(model, data, attacks, settings, ledger, rng)
            optimizer.zero_grad()
            losses = outer_gradient(learner, tasks)
            optimizer.step()
        ledger.update(sum(len(task.support.labels) + len(task.query.labels) for task in tasks))
        notes["iterations"] += 1
        notes["log"] += row_of(notes["iterations"], ledger, optimizer, losses)
        if resumable.due():
            keep(resumable, state, notes)
            resumable.log(notes["log"])
        resumable(min(done(), 1.0))
    resumable.log(notes["log"])
    attach(model, learner.step_sizes())


def _optimizer(learner: Learner) -> torch.optim.Adam:
    settings, sizes = learner.settings, [*learner.logarithms.values()]
    weights = {"params": [*learner.model.parameters()], "lr": settings.outer_lr}
    optimizer = torch.optim.Adam([weights])
    if sizes:
        optimizer.add_param_group({"params": sizes, "lr": settings.step_sizes_lr})
    return optimizer


@contextmanager
def diverging(
    resumable: ResumableProgress, state: TrainingState, notes: Mapping[str, Any]
) -> Iterator[None]:
    """Where a step fails, leave on disk what was there before it, and say where."""
    before = state.rng.get_state()
    try:
        yield
    except AuditError as error:
        state.rng.set_state(before)
        if all(bool(tensor.isfinite().all()) for tensor in state.model.parameters()):
            keep(resumable, state, notes)
        kept = resumable.file is not None and resumable.file.is_file()
        where = f"the last finite weights are in {resumable.file}" if kept else "nothing is kept"
        raise AuditError(
            f"training diverged at meta-iteration {notes['iterations'] + 1}: {error}; "
            f"{where}; try a lower learning rate"
        ) from error


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


def meta_test(
    model: nn.Module, attack: Attack, shown: Batch, query: Batch, budget: Budget,
    rng: torch.Generator,
) -> float:  # fmt: skip
    """Adapt to a new attack by the inner update, attack the adapted model, return its accuracy."""
    adapted = adapt(frozen(model), budget, lambda _: shown)
    dealt = Streams.dealt(rng, len(query.labels))
    verdicts, _ = survives(attack, adapted.model, query, Meter(), dealt)
    return float(verdicts.float().mean())
