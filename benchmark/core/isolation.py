"""Global state that a user's file may change, put back where its code ends.

A file that turns gradients off when it is imported, or a model that does so when it is asked, would
change the numbers of whoever comes after it.
"""

from __future__ import annotations

import gc
import locale
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmark.core import seeding

_entered: list[Any] = []
"""Inference modes that were left or entered for good: one ends when its object does."""


class Setting(NamedTuple):
    """How to read a global setting, as something that can be compared, and to put it back."""

    get: Callable[[], Any]
    put: Callable[[Any], object]


def _attribute(holder: object, name: str) -> Setting:
    return Setting(partial(getattr, holder, name), partial(setattr, holder, name))


def _table(table: Any) -> Setting:
    """A mapping that others hold too: its content is put back."""

    def put(before: Mapping[Any, Any]) -> None:
        table.clear()
        table.update(before)

    return Setting(table.copy, put)


def _list(holder: object, name: str) -> Setting:
    """The content of a list, which may be another list by then."""

    def put(before: list[Any]) -> None:
        getattr(holder, name)[:] = before

    return Setting(lambda: [*getattr(holder, name)], put)


def _infer(mode: bool) -> None:
    _entered.append(torch.inference_mode(mode))
    _entered[-1].__enter__()


def _directory() -> str:
    with suppress(OSError):  # somebody removed it
        return os.getcwd()
    return ""


def _handle(number: signal.Signals, handler: Any) -> None:
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(number, handler)


def _hooks() -> list[Setting]:
    """Those that torch calls at every pass of every module."""
    held = vars(torch.nn.modules.module)
    names = [name for name in held if name.startswith("_global_")]
    return [_table(held[name]) for name in names if isinstance(held[name], dict)]


def _matmul() -> str | None:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # somebody has set it by backend, below
        return None


def _set_matmul(before: str | None) -> None:
    if before:
        torch.set_float32_matmul_precision(before)


def _precisions() -> Iterator[Setting]:
    """By backend, in those versions of torch that have them."""
    for name in ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv"):
        with suppress(AttributeError):
            holder = attrgetter(name)(torch.backends)
            assert holder.fp32_precision
            yield _attribute(holder, "fp32_precision")


def _cast(device: str) -> list[Setting]:
    return [
        Setting(
            partial(torch.is_autocast_enabled, device), partial(torch.set_autocast_enabled, device)
        ),
        Setting(
            partial(torch.get_autocast_dtype, device), partial(torch.set_autocast_dtype, device)
        ),
    ]


def _regions() -> int:
    """How many regions of autocast are open: what they cast is kept until the last one ends."""
    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def _set_regions(before: int) -> None:
    """Close those that were left open, or the models of others would go on with weights of then."""
    while _regions() > before:
        torch.autocast_decrement_nesting()
    while _regions() < before:
        torch.autocast_increment_nesting()
    torch.clear_autocast_cache()


SETTINGS: tuple[Setting, ...] = (
    Setting(seeding.generators, seeding.put_generators),
    Setting(torch.is_inference_mode_enabled, _infer),
    Setting(torch.is_grad_enabled, torch.set_grad_enabled),
    Setting(torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    Setting(torch.get_default_dtype, torch.set_default_dtype),
    Setting(torch.get_default_device,
            lambda device: torch.set_default_device(None if device.type == "cpu" else device)),
    Setting(torch.get_num_threads, torch.set_num_threads),
    Setting(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    Setting(_matmul, _set_matmul),
    *_precisions(),
    *(_attribute(torch.backends.cudnn, name)
      for name in ("enabled", "benchmark", "deterministic", "allow_tf32")),
    *_cast("cpu"), *_cast("cuda"), Setting(_regions, _set_regions),
    Setting(torch.is_autocast_cache_enabled, torch.set_autocast_cache_enabled), *_hooks(),
    Setting(np.geterr, lambda before: np.seterr(**before)),
    Setting(_directory, lambda before: os.chdir(before or ".")),
    Setting(lambda: dict(os.environ), _table(os.environ).put),
    Setting(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    Setting(sys.getrecursionlimit, sys.setrecursionlimit),
    Setting(partial(locale.setlocale, locale.LC_ALL), partial(locale.setlocale, locale.LC_ALL)),
    *(Setting(partial(signal.getsignal, number), partial(_handle, number))
      for number in (signal.SIGINT, signal.SIGTERM)),
    *(_attribute(sys, name) for name in ("stdout", "stderr", "excepthook")),
    _list(sys, "path"), _list(warnings, "filters"),
)  # fmt: skip

Changes = Sequence[tuple[Setting, Any]]
"""Settings with the value that somebody gave them."""


@contextmanager
def kept(begin: Changes = ()) -> Iterator[list[tuple[Setting, Any]]]:
    """Whatever is set inside is put back on leaving; what that was is in the list that is given.

    `begin`: what is set on entering, such as what a file had set when it was imported.
    """
    before, changes = _now(), list[tuple[Setting, Any]]()
    try:
        for setting, value in begin:
            setting.put(value)
        yield changes
    finally:
        for setting, value, now in zip(SETTINGS, before, _now(), strict=True):
            if now != value:
                changes.append((setting, now))
        for setting, value in zip(SETTINGS, before, strict=True) if changes else ():
            if setting.get() != value:  # what is put back may change others
                setting.put(value)


def _now() -> list[Any]:
    return [setting.get() for setting in SETTINGS]
