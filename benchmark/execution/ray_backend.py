"""Workers on a Ray cluster, or on a Ray started here for one run: one task per group of cells.

A task streams back one event after the other, so records arrive as cells end. Retries are those of
`sharing`, per cell: Ray's own would run a whole group again. Every machine needs this code and its
packages in the same versions (a worker with others refuses), but no shared disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Self

from benchmark.core.errors import UsageError
from benchmark.execution import worker
from benchmark.execution.own_ray import own_ray
from benchmark.execution.tasks import Task
from benchmark.execution.worker import Died, Event, Job, Packer, Parcel, Refused
from benchmark.identity.fingerprint import code_version

ANSWER = 10.0
"""Seconds in which a cluster has to answer."""
KEPT = 32
"""Data sets and trained models that are held in the object store for tasks to come."""
LOCKED = "if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
OLDEST = (2, 52)
"""Version of Ray that has tokens."""
QUEUED = 2
"""Groups given to Ray for every one that can run: the next is there when a worker is free."""


def check_ray(address: str | None) -> None:
    """Raise UsageError, in a few seconds, if Ray is not installed or does not answer."""
    if find_spec("ray") is None:
        raise UsageError("--executor ray needs Ray: pip install -e '.[ray]'")
    found = version("ray")
    if tuple(map(int, found.split(".")[:2])) < OLDEST:
        raise UsageError(f"--executor ray needs Ray 2.52, got {found}: pip install -e '.[ray]'")
    if address is None or address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdigit()) or "/" in host:
        raise UsageError(
            f"--address: expected HOST:PORT of a Ray head node, or auto, got {address!r}; "
            "run this on a machine of the cluster"
        )
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER / 2).close()
        _ask(address)
    except (OSError, OverflowError, subprocess.SubprocessError):
        raise UsageError(
            f"--address {address}: no Ray answers there; start one with `ray start --head`, "
            "or leave --address out for a Ray of this run alone"
        ) from None


def _ask(address: str) -> None:
    """In a process of its own: Ray asks for more than a minute, and tells the screen about it."""
    words = ["-m", "ray.scripts.scripts", "health-check", "--address", address]
    subprocess.run(
        [sys.executable, *words, "--skip-version-check"],
        capture_output=True, check=True, timeout=ANSWER,
    )  # fmt: skip


class OnRay:
    """A backend (see `tasks.Backend`) of Ray tasks.

    Args:
        address: HOST:PORT or `auto`; None starts a Ray on this machine that ends with the run.
        jobs: tasks at once at most; None is as many as the cluster has room for.
        gpus: share of a GPU that each task takes, e.g. 0.25.
        parcel: gives a key and the parcel of a cell.
    """

    def __init__(
        self, job: Job, address: str | None, jobs: int | None, gpus: float, parcel: Packer
    ) -> None:
        self.job, self.address, self.jobs, self.gpus = job, address, jobs, gpus
        self.parcel = parcel
        self.put = OrderedDict[object, Any]()
        self.streams: dict[Any, Task] = {}
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        silent = self.stack.enter_context(open(os.devnull, "w"))
        self.stack.enter_context(contextlib.redirect_stdout(silent))  # where Ray tells of deaths
        try:
            if not _is_started():
                self._connect()
            self.slots = self._slots()
        except BaseException:
            self.stack.close()
            raise
        options = {"num_cpus": self.job.threads, "num_gpus": self.gpus}
        self.remote = _ray().remote(max_retries=0, num_returns="streaming", **options)(_task)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        ray = _ray()
        if kind is not None:
            for stream in self.streams:
                ray.cancel(stream, force=True)
        self.streams.clear()
        self.put.clear()
        self.stack.close()

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        try:
            words = {} if self.address else self.stack.enter_context(own_ray())
            if not self.address:
                words["num_cpus"] = self.jobs and self.jobs * self.job.threads
            self.stack.callback(_disconnect)
            _ray().init(
                self.address or "local", **words, log_to_driver=False,
                logging_level=logging.CRITICAL,
            )  # fmt: skip
        except UsageError:
            raise
        except Exception as error:
            first = " ".join(str(error).split())
            hint = f"; {LOCKED}" if self.address else ""
            raise UsageError(f"cannot start or join Ray: {first[:200]}{hint}") from None

    def _slots(self) -> int:
        ray = _ray()
        found = ray.cluster_resources()
        slots = int(found.get("CPU", 0) // self.job.threads)
        if self.gpus:
            slots = min(slots, int(found.get("GPU", 0) / self.gpus))
        if slots < 1:
            raise UsageError(
                f"no room on this Ray: a task needs {self.job.threads} CPUs and {self.gpus:g} GPUs,"
                f" it has {found.get('CPU', 0):g} and {found.get('GPU', 0):g} in all"
            )
        return slots

    def workers(self) -> int:
        """As many as were asked for, or as have room."""
        return self.jobs or self.slots

    def has_room(self) -> bool:
        """As many as were asked for, or a few more than can run."""
        return len(self.streams) < (self.jobs or QUEUED * self.slots)

    def begin(self, task: Task) -> None:
        """Submit a task; the parcel of its trained model goes into the object store once."""
        order = pickle.dumps(task.order(self.job))
        key, parcel = self.parcel(task.cell)
        references = [
            self._put((parcel.dataset.name, parcel.dataset.seed), parcel.dataset),
            self._put(key, parcel.model),
        ]
        self.streams[self.remote.remote(code_version(), order, references)] = task

    def _put(self, key: object, value: object) -> Any:
        ray = _ray()
        if key not in self.put:
            self.put[key] = ray.put(value)
        self.put.move_to_end(key)
        while len(self.put) > KEPT:  # tasks that were given it keep it alive
            self.put.popitem(last=False)
        return self.put[key]

    def wait(self, seconds: float) -> list[tuple[Task, Event]]:
        """See `tasks.Backend`."""
        ray = _ray()
        ready, _ = ray.wait(list(self.streams), num_returns=len(self.streams), timeout=0)
        if not ready:
            ready, _ = ray.wait(list(self.streams), num_returns=1, timeout=seconds)
        found = [(self.streams[stream], self._event(stream)) for stream in ready]
        return [(task, event) for task, event in found if event is not None]

    def _event(self, stream: Any) -> Event | None:
        """What the task says next; None if it has said everything."""
        exceptions = _ray().exceptions
        try:
            event: Event = _ray().get(next(stream))
            if self.streams[stream].ends_with(event):
                del self.streams[stream]  # its room is free: nobody waits for a task that is done
            return event
        except StopIteration:
            del self.streams[stream]
            return None
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, exceptions.TaskCancelledError):  # nobody but the cell did
                del self.streams[stream]
                return Died("a Ray worker was interrupted")
            first = " ".join(str(error.cause).split())
            return Refused(f"a Ray worker cannot work: {type(error.cause).__name__}: {first}")
        except exceptions.RayError as error:
            del self.streams[stream]
            return Died(f"a Ray worker died ({type(error).__name__})")


def _is_started() -> bool:
    return "ray" in sys.modules and bool(_ray().is_initialized())


def _disconnect() -> None:
    _ray().shutdown()


def _ray() -> Any:
    """Imported late: it is optional, and takes a second."""
    import ray

    return ray


# What runs in the worker.

_last: dict[int, tuple[Any, Any]] = {}


def _task(code: str, order: bytes, references: list[Any]) -> Iterator[Event]:
    """`references` to the two parts of a parcel, in a list: so Ray does not fetch them itself."""

    def fetch() -> Parcel:
        return Parcel(*(_get(part, reference) for part, reference in enumerate(references)))

    yield from worker.serve(code, order, fetch)


def _get(part: int, reference: Any) -> Any:
    """Fetched once, and kept for the tasks that follow in this process."""
    if part not in _last or _last[part][0] != reference:
        _last[part] = reference, _ray().get(reference)
    return _last[part][1]
