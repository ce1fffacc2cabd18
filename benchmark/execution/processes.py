"""Workers on this machine: pools of one process each, so that a death costs one task.

Where the platform has a fork server, it has imported everything before the first worker starts: a
worker then starts in milliseconds and shares the memory of the code. Nothing there touches CUDA.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from functools import cache
from multiprocessing import util
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Self

from benchmark.core.errors import UsageError, describe
from benchmark.data.splits import Dataset
from benchmark.execution.scratch import scratch
from benchmark.execution.worker import Report, work


class _Worker:
    """A pool of one process, which starts with the first task."""

    def __init__(self) -> None:
        self.pool = ProcessPoolExecutor(1, context(), _begin)
        self.process: BaseProcess | None = None

    def submit(self, *task: object) -> Future[Report]:
        if self.process is not None:
            return self.pool.submit(work, *task)  # type: ignore[arg-type]
        before = multiprocessing.active_children()
        with _uninterrupted():
            future = self.pool.submit(work, *task)  # type: ignore[arg-type]
        started = [one for one in multiprocessing.active_children() if one not in before]
        self.process = started[0] if started else None
        return future

    def how_died(self) -> str:
        code = None
        if self.process is not None:
            self.process.join(5)
            code = self.process.exitcode
        if code is not None and code < 0:
            return f"a worker died of signal {-code} ({_signal(-code)})"
        return f"a worker died with exit code {code}"

    def end(self, kill: bool) -> None:
        if kill and self.process is not None:
            self.process.kill()
        self.pool.shutdown(wait=True, cancel_futures=True)


class Processes:
    """A backend (see `benchmark.execution.execute.Backend`) of at most `slots` processes."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.idle: list[_Worker] = []
        self.busy: dict[Future[Report], _Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for worker in (*self.idle, *self.busy.values()):
            worker.end(kill=kind is not None)

    def submit(
        self, key: object, code: str, task: bytes, data: Dataset, model: bytes
    ) -> Future[Report]:
        """See `Backend`."""
        worker = self.idle.pop() if self.idle else _Worker()
        future = worker.submit(code, task, data, model)
        self.busy[future] = worker
        return future

    def result(self, future: Future[Report]) -> Report | str:
        """See `Backend`."""
        worker, error = self.busy.pop(future), future.exception()
        if isinstance(error, BrokenProcessPool):
            how = worker.how_died()
            worker.end(kill=True)
            return how
        self.idle.append(worker)
        if isinstance(error, KeyboardInterrupt):  # a model's: the user's reaches no worker
            return "a worker was interrupted"
        if error is not None:
            raise UsageError(f"a worker cannot work: {describe(error)}")
        return future.result()


def context() -> BaseContext:
    """How workers start here."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    _place_sockets()
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__])
    return found


@cache
def _place_sockets() -> None:
    """Once for this process and its workers, instead of in a folder that a kill would leave."""
    stack = ExitStack()
    folder = stack.enter_context(scratch(len("listener-12345678")))
    util.Finalize(None, stack.close, exitpriority=-100)  # after the workers
    process = multiprocessing.current_process()
    process._config["tempdir"] = str(folder)  # type: ignore[attr-defined]


def warm_up() -> None:
    """Start the fork server, which takes seconds, while there is something else to do."""
    if context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        with _uninterrupted():
            forkserver.ensure_running()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


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


def _begin() -> None:
    """First in every worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    sys.stdout = sys.stderr  # standard output belongs to the parent, and to --json
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers; what they write is written whole."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
