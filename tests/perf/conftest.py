"""What is saved of benchmarks: figures that can be compared, of a machine that stays nameless.

    python -m pytest tests/perf --benchmark-only --benchmark-autosave

adds a file to `tests/perf/history` (`--benchmark-storage` in pyproject.toml). pytest-benchmark
would put host, user's project and every single round into it.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

MACHINE = ("machine", "system", "python_implementation", "python_version")
CPU = ("brand_raw", "hz_advertised_friendly", "count")
COMMIT = ("id", "dirty", "time")
BENCHMARK = ("group", "name", "fullname", "params", "extra_info", "stats")
collect_ignore = ["paired_others.py"]
"""Importing it registers attacks, which is for its race alone."""
DIGITS = 4
"""Significant ones: more would be noise in every line of a diff."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Races may take an hour: the limit of the other tests is none of theirs."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(0))


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Nothing of the host but what speed depends on."""
    cpu = {name: machine_info.get("cpu", {}).get(name) for name in CPU}
    kept = {name: machine_info[name] for name in MACHINE}
    limits = {name: os.environ[name] for name in ("OMP_NUM_THREADS",) if name in os.environ}
    machine_info.clear()
    machine_info.update(kept, cpu=cpu, torch=version("torch"), **limits)


def pytest_benchmark_update_commit_info(config: Any, commit_info: dict[str, Any]) -> None:
    """The commit, and no project or branch: those are names of folders and people."""
    kept = {name: commit_info[name] for name in COMMIT if name in commit_info}
    commit_info.clear()
    commit_info.update(kept)


def pytest_benchmark_update_json(config: Any, benchmarks: Any, output_json: dict[str, Any]) -> None:
    """Rounded figures without the single rounds; what `pytest-benchmark compare` needs stays."""
    output_json["benchmarks"] = [
        {name: rounded(one.get(name)) for name in BENCHMARK} for one in output_json["benchmarks"]
    ]
    for one in output_json["benchmarks"]:
        one["stats"].pop("data", None)


def rounded(value: Any) -> Any:
    """Every float in it to DIGITS significant digits.

    >>> rounded({"ratio": 1.23456, "laps": [0.000123456, 3]})
    {'ratio': 1.235, 'laps': [0.0001235, 3]}
    """
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
