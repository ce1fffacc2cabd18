"""Randomness is a named stream: what a draw may depend on is written where it is drawn."""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from benchmark.core.schema import short_hash


def stream(*names: object) -> torch.Generator:
    """A CPU generator that depends on `names` alone, e.g. `stream("attack", "pgd_linf", 0)`.

    Draws are made on the CPU and moved, so that they are the same on every device.
    """
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") % 2**63)


def draw_seed(rng: torch.Generator) -> int:
    """A 31-bit seed drawn from `rng`, for code that wants an integer."""
    return int(torch.randint(2**31 - 1, (1,), generator=rng))


def global_hash() -> str:
    """Changes when anybody draws from, or seeds, the generators of torch, NumPy or random."""
    numpy = np.random.get_state(legacy=False)
    return short_hash(torch.get_rng_state().tolist(), numpy, random.getstate())


def generators() -> bytes:
    """Where the global generators of torch, NumPy and random stand."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    states = [state.numpy() for state in (torch.get_rng_state(), *gpus)]
    return pickle.dumps((states, np.random.get_state(), random.getstate()))


def put_generators(before: bytes) -> None:
    """Set them to where they stood."""
    (cpu, *gpus), numpy, python = pickle.loads(before)
    torch.set_rng_state(torch.from_numpy(cpu))
    if gpus:
        torch.cuda.set_rng_state_all([torch.from_numpy(state) for state in gpus])
    np.random.set_state(numpy)
    random.setstate(python)


@contextmanager
def global_state(rng: torch.Generator) -> Iterator[None]:
    """Seed the global generators (torch, NumPy, random) from `rng`; restore them on leaving.

    For third-party code only, which draws from, and often re-seeds, global state.
    """
    seed = draw_seed(rng)
    python, numpy = random.getstate(), np.random.get_state()
    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
