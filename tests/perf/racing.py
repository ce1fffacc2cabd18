"""Contenders doing the same work side by side, each lap in a process of its own.

A module of contenders gives `CONTENDERS`, functions that set the work up and return it as a
callable; only the call is timed. Laps alternate, so that what else the machine does meets all of
them. Every contender runs as its user would run it: ours with the allocator set as the command
line sets it, the others as they come.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

ROUNDS = int(os.environ.get("REATTACK_ROUNDS", "3"))
THREADS = int(os.environ.get("REATTACK_THREADS", "2"))
FRESH = ("sh", "-c", '"$@"; exit', "sh")
"""Goes before a command whose peak memory counts: Linux adds to it what the process that started
it held, here all of pytest."""


class Lap(NamedTuple):
    """One run of one contender."""

    seconds: float
    processor: float
    """Seconds of processor time, all threads and workers: other work blurs it less."""
    megabytes: float
    """Peak resident memory of the whole process."""
    found: Any


def race(file: str, names: list[str], *arguments: object) -> dict[str, list[Lap]]:
    """`ROUNDS` laps of each contender of a module, alternating."""
    laps: dict[str, list[Lap]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name in names:
            words = [*FRESH, sys.executable, file, name, *map(str, arguments)]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            laps[name].append(Lap(*json.loads(done.stdout.splitlines()[-1])))
    return laps


def ratios(laps: dict[str, list[Lap]], ours: str) -> dict[str, Any]:
    """How many times longer each other contender took: median, least and most of all laps."""
    told: dict[str, Any] = {}
    for name, others in laps.items():
        pairs = [
            theirs.seconds / own.seconds for theirs, own in zip(others, laps[ours], strict=True)
        ]
        processor = [
            theirs.processor / own.processor
            for theirs, own in zip(others, laps[ours], strict=True)
            if min(theirs.processor / theirs.seconds, own.processor / own.seconds) > 0.5
        ]  # less than that is the time of workers that nobody waited for: not known
        told[name] = {
            "seconds": round(statistics.median(lap.seconds for lap in others), 3),
            "ratio": round(statistics.median(pairs), 3),
            "from": round(min(pairs), 3),
            "to": round(max(pairs), 3),
            "processor ratio": round(statistics.median(processor), 3) if processor else None,
            "megabytes": round(max(lap.megabytes for lap in others)),
        }
    return told


def processor_time() -> float:
    """Seconds of this process and of the workers that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def run_lap(contenders: dict[str, Callable[..., Callable[[], Any]]]) -> None:
    """The process of one lap: `file.py NAME ARGUMENTS...` prints a `Lap`."""
    import torch

    torch.set_num_threads(THREADS)
    name, *arguments = sys.argv[1:]
    work = contenders[name](*arguments)
    begin, used = time.perf_counter(), processor_time()
    found = work()
    seconds, processor = time.perf_counter() - begin, processor_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([seconds, processor, peak, found]))
