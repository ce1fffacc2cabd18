"""Performance ratios out of a file of pytest-benchmark: how many times longer others take.

A benchmark keeps them in `extra_info`: {contender: {"ratio": 1.7, ...}}, as tests/perf does. A
ratio of two programs that ran side by side survives a change of machine, which seconds do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmark.core.errors import UsageError
from benchmark.results.sealing import parse


def read_ratios(path: Path) -> dict[str, float]:
    """By `benchmark: contender`; UsageError if the file is none, or holds no ratio."""
    try:
        content = parse(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: not a readable file of benchmarks ({error}); "
            "write one: pytest --benchmark-only --benchmark-json FILE"
        ) from error
    found: dict[str, float] = {}
    for name, ratio in _ratios(content):
        if not 0 < ratio < math.inf or name in found:
            told = "two ratios" if name in found else f"the ratio {ratio}"
            raise UsageError(f"{path}: {told} of {ascii(name)[:160]}; expected one above 0")
        found[name] = ratio
    if not found:
        raise UsageError(
            f"{path}: no benchmark with extra_info of the form {{contender: {{'ratio': 1.7}}}}"
        )
    return found


def _ratios(content: Any) -> Iterator[tuple[str, float]]:
    benchmarks = content.get("benchmarks") if isinstance(content, dict) else None
    for one in benchmarks if isinstance(benchmarks, list) else []:
        extra = one.get("extra_info") if isinstance(one, dict) else None
        for contender, figures in (extra if isinstance(extra, dict) else {}).items():
            ratio = figures.get("ratio") if isinstance(figures, dict) else None
            if isinstance(ratio, int | float) and ratio is not True:
                yield f"{one.get('name', '')}: {contender}", float(ratio)
