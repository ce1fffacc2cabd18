"""A Ray of one run alone: it takes in who has this run's random token, and listens on loopback.

The token is in the environment of its processes: who may read that could as well run code as this
user. A cluster that is joined instead (`--address`) protects itself, or does not.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from benchmark.execution.scratch import scratch

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""What makes Ray listen on 127.0.0.1 alone, as it does on these two by itself."""
SESSION = len("session_2026-01-31_12-34-56_123456_1234567/sockets/plasma_store")
"""Bytes of the longest name below its folder that Ray gives to a socket."""


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
