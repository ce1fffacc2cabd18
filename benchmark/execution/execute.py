"""Where cells run: in this process, in several on this machine, or on Ray."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext

from benchmark.artifacts.settings import ProgressListener, RunSettings
from benchmark.core.errors import ModelError, UsageError, unknown
from benchmark.evaluation.batch_size import is_costly
from benchmark.execution.complete import complete_group
from benchmark.execution.driver import Backend, Driver
from benchmark.execution.limits import check_limits
from benchmark.execution.loading import InputLoader, by_group, trained_name
from benchmark.execution.processes import Processes, warm_up
from benchmark.execution.queue import GroupQueue
from benchmark.execution.ray_backend import OnRay, check_ray
from benchmark.plan.cost import cost
from benchmark.plan.matrix import Plan
from benchmark.protocol.pictures import FinishedCell
from benchmark.protocol.recording import save
from benchmark.results.records import Cell

EXECUTORS = ("auto", "here", "processes", "ray")
MOST = 8
"""Processes at most where nobody says how many: each needs about half a gigabyte."""
WORTHWHILE = 1_000_000
"""Passes up to which starting processes, some seconds each, would take longer than it saves."""


def cores() -> int:
    """Processors this process may use, `MOST` at most."""
    return min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


def check_executor(settings: RunSettings) -> None:
    """Raise UsageError for an executor nobody knows, or flags that do not go together."""
    check_limits(settings)
    if settings.executor not in EXECUTORS:
        raise unknown("executor", settings.executor, EXECUTORS)
    for flag, value in (("--jobs", settings.jobs), ("--threads", settings.threads)):
        if value is not None and value < 1:
            raise UsageError(f"{flag}: expected at least 1, got {value}")
    if settings.executor == "here" and settings.jobs not in (None, 1):
        raise UsageError(
            f"--jobs {settings.jobs} with --executor here, which is one process; "
            "expected --executor processes, or no --jobs"
        )
    gpus = settings.gpus_per_task
    if settings.executor != "ray":
        for flag, given in (("--address", settings.address), ("--gpus-per-task", gpus)):
            if given is not None:
                raise UsageError(f"{flag} is for --executor ray; expected that too, or neither")
        return
    if gpus is not None and not 0 <= gpus < float("inf"):
        raise UsageError(f"--gpus-per-task: expected a number from 0, got {gpus:g}")
    check_ray(settings.address)


def needs_processes(settings: RunSettings) -> bool:
    """Whether it is known, before anything is planned, that other processes compute."""
    several = settings.jobs is not None and settings.jobs > 1
    wanted = settings.executor == "processes" or (settings.executor == "auto" and several)
    return wanted or (settings.limited and settings.executor != "ray")


def useful_jobs(plan: Plan) -> int:
    """How many workers have something to do: one for each group, more where one is shared."""
    shared = any(is_costly(plan.attacks[cell.attack]) for cell in plan.cells)
    return MOST if shared else len(by_group(plan.cells))


def execute(
    plan: Plan, settings: RunSettings, defenses: Sequence[str], listener: ProgressListener
) -> Counter[str]:
    """Run the matrix; how many cells ended in which way.

    Args:
        plan: what is run.
        settings: where and how.
        defenses: those of the plan as the user wrote them: each worker builds them anew.
        listener: is told how far it is.

    Raises:
        UsageError: what the user has to mend: a model that cannot be evaluated, a full disk, a
            worker with other code.
    """
    loader = InputLoader(plan.attacks, plan.defenses, settings, listener)
    _check_brought(plan, loader)
    backend = _backend(plan, settings, listener)
    if backend is None:
        return _here(GroupQueue(plan, loader))
    with backend as workers:
        return Driver(GroupQueue(plan, loader, by_cost=True), workers, defenses).run()


def _backend(plan: Plan, settings: RunSettings, listener: ProgressListener) -> Backend | None:
    """Who computes; None is this process."""
    if settings.executor == "ray":
        gpus = settings.gpus_per_task or 0.0
        return OnRay(settings.address, settings.jobs, settings.threads or 1, gpus)
    jobs = settings.jobs or cores()
    if settings.executor == "here":
        if not settings.limited:
            return None
        listener.note("a cell over its limit ends its process: cells run in a worker, not here")
        jobs = 1
    if settings.executor == "auto" and not settings.limited:
        small = sum(cost(cell, plan) for cell in plan.cells) <= WORTHWHILE
        if jobs == 1 or small:
            return None
    warm_up()
    return Processes(jobs)


def _check_brought(plan: Plan, loader: InputLoader) -> None:
    """UsageError for a model trained elsewhere that cannot be evaluated: before anything runs.

    Whatever else is wrong with one is said in the records of its cells.
    """
    firsts: dict[object, Cell] = {}
    for cell in plan.cells:
        firsts.setdefault(trained_name(cell), cell)
    for cell in firsts.values():
        if not plan.defenses[cell.defense].trains:
            try:
                loader.model(cell)
            except ModelError as error:
                raise UsageError(f"{cell.defense}: {error}") from error
            except Exception:
                continue


def _here(queue: GroupQueue) -> Counter[str]:
    def keep(finished: FinishedCell) -> None:
        queue.ended[save(queue.loader.settings, finished, queue.loader.listener)] += 1

    while queue:
        opened = queue.next()
        if opened is None:
            queue.wait()
            continue
        with opened:
            complete_group(opened.group, opened.inputs, queue.loader, keep, nullcontext)
    return queue.ended
