"""Workers on this machine: a few processes, each with a pipe, started once and replaced on death.

Where the platform has a fork server, it has imported everything before the first worker starts: a
worker then starts in milliseconds and shares the memory of the code. Nothing there touches CUDA.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import NamedTuple, Self

from benchmark.execution import worker as work
from benchmark.execution.scratch import scratch
from benchmark.execution.tasks import Task
from benchmark.execution.worker import Died, Event, Job, Packer, Parcel
from benchmark.identity import fingerprint


class _Worker:
    """One process, the pipe to it, and the key of the parcel it was handed last."""

    def __init__(self, context: BaseContext) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        self.key: object = None
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(theirs,), daemon=True
        )
        with _uninterrupted():
            self.process.start()
        theirs.close()  # or its end would never be seen here

    def end(self) -> str:
        """How it died."""
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            return f"a worker died of signal {-code} ({_signal(-code)})"
        return f"a worker died with exit code {code}"


class Processes:
    """A backend (see `tasks.Backend`) of at most `jobs` processes."""

    def __init__(self, job: Job, jobs: int, parcel: Packer) -> None:
        self.job, self.jobs, self.parcel = job, jobs, parcel
        self.idle: list[_Worker] = []
        self.busy: dict[Connection, tuple[_Worker, Task]] = {}
        self.context = context()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        workers = [*self.idle, *(worker for worker, _ in self.busy.values())]
        for worker in workers:
            worker.pipe.close()  # an idle one ends at that
            if kind is not None:
                worker.process.terminate()
        for worker in workers:
            worker.process.join(5)
            worker.process.kill()

    def workers(self) -> int:
        """All processes."""
        return self.jobs

    def has_room(self) -> bool:
        """Fewer tasks than workers."""
        return len(self.busy) < self.jobs

    def begin(self, task: Task) -> None:
        """Give the task to an idle worker, with a parcel if its last one was another."""
        worker = self.idle.pop() if self.idle else _Worker(self.context)
        key, parcel = self.parcel(task.cell)
        order = pickle.dumps(task.order(self.job))
        self.busy[worker.pipe] = worker, task
        with suppress(OSError):  # it died while idle: `wait` sees that
            worker.pipe.send(
                _Sent(fingerprint.code_version(), order, None if worker.key == key else parcel)
            )
            worker.key = key

    def wait(self, seconds: float) -> list[tuple[Task, Event]]:
        """See `tasks.Backend`."""
        return [self._event(pipe) for pipe in wait(list(self.busy), seconds)]  # type: ignore[arg-type]

    def _event(self, pipe: Connection) -> tuple[Task, Event]:
        worker, task = self.busy[pipe]
        try:
            event: Event = pipe.recv()
        except (EOFError, OSError):
            del self.busy[pipe]
            return task, Died(worker.end())
        if task.ends_with(event):
            del self.busy[pipe]
            self.idle.append(worker)
        return task, event


class _Sent(NamedTuple):
    code: str
    order: bytes
    parcel: Parcel | None


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


# What runs in the process.


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    sys.stdout = sys.stderr  # standard output belongs to the parent, and to --json
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(EOFError, OSError):  # the parent has nothing more to do, or is gone
        while True:
            sent: _Sent = pipe.recv()
            for event in work.serve(sent.code, sent.order, lambda sent=sent: sent.parcel):  # type: ignore[misc]
                pipe.send(event)


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers; they hold nothing that could be torn."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
