"""Workers on a Ray cluster, or on a Ray started here for one run: one task per group of cells.

Retries are those of `execute`, per cell: Ray's own would run a whole group again. Every machine
needs this code and its packages in the same versions (a worker with others refuses), but no shared
disk.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Self

from benchmark.core.errors import UsageError, describe
from benchmark.data.splits import Dataset
from benchmark.execution.scratch import scratch
from benchmark.execution.worker import Report, work

ANSWER = 10.0
"""Seconds in which a cluster has to answer."""
KEPT = 32
"""Data sets and trained models that are held in the object store for tasks to come."""
LOCKED = "if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
OLDEST = (2, 52)
"""Version of Ray that has tokens."""
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What makes Ray listen on 127.0.0.1 alone, as it does on these two by itself."""
SESSION = len("session_2026-01-31_12-34-56_123456_1234567/sockets/plasma_store")
"""Bytes of the longest name below its folder that Ray gives to a socket."""
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
    """A backend (see `benchmark.execution.execute.Backend`) of Ray tasks.

    Args:
        address: HOST:PORT or `auto`; None starts a Ray on this machine that ends with the run.
        jobs: tasks at once at most; None is as many as the cluster has room for.
        threads: of each task.
        gpus: share of a GPU that each task takes, e.g. 0.25.
    """

    def __init__(self, address: str | None, jobs: int | None, threads: int, gpus: float) -> None:
        self.address, self.jobs, self.threads, self.gpus = address, jobs, threads, gpus
        self.put = OrderedDict[object, Any]()
        self.running: dict[Future[Report], Any] = {}
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        silent = self.stack.enter_context(open(os.devnull, "w"))
        self.stack.enter_context(contextlib.redirect_stdout(silent))  # where Ray tells of deaths
        try:
            if not _is_started():
                self._connect()
            room = self._room()
        except BaseException:
            self.stack.close()
            raise
        self.slots = self.jobs or QUEUED * room
        self.remote = _ray().remote(max_retries=0, num_cpus=self.threads, num_gpus=self.gpus)(_task)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        ray = _ray()
        if kind is not None:
            for reference in self.running.values():
                ray.cancel(reference, force=True)
        self.running.clear()
        self.put.clear()
        self.stack.close()

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        logging.getLogger("ray").setLevel(logging.CRITICAL)
        try:
            words = {} if self.address else self.stack.enter_context(own_ray())
            if not self.address:
                words["num_cpus"] = self.jobs and self.jobs * self.threads
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

    def _room(self) -> int:
        ray = _ray()
        found = ray.cluster_resources()
        slots = int(found.get("CPU", 0) // self.threads)
        if self.gpus:
            slots = min(slots, int(found.get("GPU", 0) / self.gpus))
        if slots < 1:
            raise UsageError(
                f"no room on this Ray: a task needs {self.threads} CPUs and {self.gpus:g} GPUs,"
                f" it has {found.get('CPU', 0):g} and {found.get('GPU', 0):g} in all"
            )
        return slots

    def submit(
        self, key: object, code: str, task: bytes, data: Dataset, model: bytes
    ) -> Future[Report]:
        """See `Backend`; what a trained model needs goes into the object store once."""
        references = [self._put((data.name, data.seed), data), self._put(key, model)]
        reference = self.remote.remote(code, task, references)
        future: Future[Report] = reference.future()
        self.running[future] = reference
        return future

    def _put(self, key: object, value: object) -> Any:
        ray = _ray()
        if key not in self.put:
            self.put[key] = ray.put(value)
        self.put.move_to_end(key)
        while len(self.put) > KEPT:  # tasks that were given it keep it alive
            self.put.popitem(last=False)
        return self.put[key]

    def result(self, future: Future[Report]) -> Report | str:
        """See `Backend`."""
        del self.running[future]
        error, exceptions = future.exception(), _ray().exceptions
        if error is None:
            return future.result()
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, exceptions.TaskCancelledError | KeyboardInterrupt):
            return "a Ray worker was interrupted"  # nobody but the cell did
        if isinstance(error, exceptions.RayTaskError):
            raise UsageError(f"a Ray worker cannot work: {describe(cause)}")
        return f"a Ray worker died ({type(error).__name__})"


def _is_started() -> bool:
    return "ray" in sys.modules and bool(_ray().is_initialized())


def _disconnect() -> None:
    _ray().shutdown()


def _ray() -> Any:
    """Imported late: it is optional, and takes a second."""
    import ray

    return ray


# A Ray of one run alone: it takes in who has this run's random token, and listens on loopback.
# The token is in the environment of its processes: who may read that could run code as this user.


@contextmanager
def own_ray() -> Iterator[dict[str, Any]]:
    """What to start a Ray with; whatever it leaves on the disk is gone afterwards."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    words: dict[str, Any] = {"include_dashboard": False}
    with _environment(LOOPBACK | token):
        if os.name != "posix":  # there, Ray has no sockets that are files
            yield words
            return
        with scratch(SESSION) as folder:
            yield {**words, "_temp_dir": str(folder)}


@contextmanager
def _environment(ours: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        _read()
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        _read()


def _read() -> None:
    """Ray keeps what it has read of mode and token; the rest it reads when it is imported."""
    raylet = import_module("ray._raylet")
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


# What runs in the worker.

_last: dict[int, tuple[Any, Any]] = {}


def _task(code: str, task: bytes, references: list[Any]) -> Report:
    """`references` to data set and model, in a list: so Ray does not fetch them itself."""
    return work(code, task, *(_get(part, one) for part, one in enumerate(references)))


def _get(part: int, reference: Any) -> Any:
    """Fetched once, and kept for the tasks that follow in this process."""
    if part not in _last or _last[part][0] != reference:
        _last[part] = reference, _ray().get(reference)
    return _last[part][1]
