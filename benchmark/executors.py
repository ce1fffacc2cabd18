"""Where cells run: in this process, or shared out among several on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

import torch

from benchmark.bookkeeping import is_finished
from benchmark.core.errors import UsageError
from benchmark.core.records import Cell
from benchmark.estimate import cost
from benchmark.lab import Lab
from benchmark.place import Place
from benchmark.plan import Request, make_plan, read_suite
from benchmark.progress import Silent
from benchmark.runner import run_matrix, settle

MOST = 8
"""Processes at most where nobody says how many: each needs about half a gigabyte."""
WORTHWHILE = 1_000_000
"""Passes up to which starting processes, some seconds each, would take longer than it saves."""


class Job(NamedTuple):
    """What a worker needs to plan the same cells: components are built anew in every process."""

    request: Request
    suite: str
    place: Place


class Ended(NamedTuple):
    """How a cell ended in a worker, and what it had to say on the way."""

    cell: Cell
    status: str
    reason: str | None
    notes: list[str]


def cores() -> int:
    """Processors this process may use, `MOST` at most."""
    return min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


def fill(lab: Lab, job: Job, jobs: int) -> Counter[str]:
    """Run the matrix in `jobs` processes; how many cells ended in which way.

    The parent trains, so that no two processes train the same model; workers take the cells of one
    attack at a time, since those share its static examples, the most expensive first.
    """
    if jobs == 1:
        return run_matrix(lab)
    ended: Counter[str] = Counter()
    pending = []
    for cell in lab.plan.cells:
        lab.watch.cell(cell)
        if _cached(lab, cell):
            lab.watch.finished(cell, "cached", None)
            ended["cached"] += 1
        else:
            pending.append(cell)
    if sum(cost(cell, lab.attack(cell)) for cell in pending) <= WORTHWHILE:
        return ended + run_matrix(lab, pending)
    groups = [list(cells) for _, cells in groupby(pending, key=_shared)]
    groups.sort(key=lambda cells: -sum(cost(cell, lab.attack(cell)) for cell in cells))
    return ended + _share_out(lab, job, groups, jobs)


def _cached(lab: Lab, cell: Cell) -> bool:
    lab.dataset(cell)
    try:
        lab.model(cell)
        return is_finished(lab, cell)
    except UsageError:
        raise
    except Exception:  # training failed: the cell says so when a worker comes to it
        return False


def _shared(cell: Cell) -> tuple[str, int, str]:
    return cell.defense, cell.seed, cell.attack


def _share_out(lab: Lab, job: Job, groups: list[list[Cell]], jobs: int) -> Counter[str]:
    ended: Counter[str] = Counter()
    with _pool(job, min(jobs, len(groups))) as pool:
        running: dict[Future[list[Ended]], list[Cell]] = {}
        with _uninterrupted():
            for cells in groups:
                running[pool.submit(_work, cells)] = cells
        for future in as_completed(running):
            lab.watch.cell(running[future][0])
            for end in _result(future, running[future]):
                for line in end.notes:
                    lab.watch.note(line)
                lab.watch.finished(end.cell, end.status, end.reason)
                ended[end.status] += 1
    return ended


def _result(future: Future[list[Ended]], cells: list[Cell]) -> list[Ended]:
    try:
        return future.result()
    except BrokenProcessPool:
        reason = "a worker process died (out of memory?); try again, with --jobs 1 if it stays"
        return [Ended(cell, "failed", reason, []) for cell in cells]


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back while workers start: they inherit that, and the parent gets it after."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _pool(job: Job, jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Workers that are stopped at once when the run is interrupted."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _start, (job, torch.get_num_threads()))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
    pool.shutdown()


_labs: list[Lab] = []  # one in a worker, none in the parent


class _Notes(Silent):
    """Keeps what a worker has to say until the parent can show it."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        """Keep it."""
        self.lines.append(line)


def _start(job: Job, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    sys.stdout = sys.stderr  # standard output belongs to the parent, and to --json
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    _labs.append(Lab(make_plan(job.request, read_suite(job.suite)), job.place, _Notes()))


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers; records are atomic, so they may stop anywhere."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(cells: list[Cell]) -> list[Ended]:
    (lab,) = _labs
    ends = []
    for cell in cells:
        notes = lab.watch = _Notes()
        status, reason = settle(lab, cell)
        ends.append(Ended(cell, status, reason, notes.lines))
    return ends
