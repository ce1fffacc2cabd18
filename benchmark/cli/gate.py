"""The gate as one call, for the command `check` and for the plugin of pytest."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.core.errors import UsageError
from reports.gate.baseline import read_baseline
from reports.gate.check import GateInput, Updated, check, measured, update
from reports.gate.judge import Judgement, Rules

BELOW = {"tolerance": 100.0, "alpha": 1.0, "perf_tolerance": 1.0}
"""By rule, what its value must be less than."""


def make_rules(tolerance: float = 1.0, alpha: float = 0.01, perf_tolerance: float = 0.15) -> Rules:
    """The rules; UsageError for a value out of range."""
    rules = Rules(tolerance, alpha, perf_tolerance)
    for (name, most), value in zip(BELOW.items(), rules, strict=True):
        if not (isinstance(value, int | float) and math.isfinite(value) and 0 <= value < most):
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag}: expected at least 0 and less than {most:g}, got {value!r}")
    return rules


class FirstRun(NamedTuple):
    """What is run before it is judged."""

    suite: str
    values: dict[str, Any] = {}
    """What flags say in place of the suite, by field of a `Request`."""
    data_dir: Path | None = None

    @classmethod
    def of(
        cls, suite: str | None, values: Mapping[str, Any], data_dir: Path | None
    ) -> FirstRun | None:
        """From flags; None if they ask for no run. A model alone is scored without adapting."""
        said = {name: value for name, value in values.items() if value is not None}
        if suite is None and said:
            said.setdefault("shots", [0])
        return cls(suite or "main", said, data_dir) if suite or said else None


def judge_now(
    baseline: Path, rules: Rules, results: Path | None = None, first: FirstRun | None = None,
    perf: Path | None = None,
) -> Judgement:  # fmt: skip
    """Judge a results folder, a suite that runs first, a file of benchmarks, or several of them.

    Raises:
        UsageError: anything cannot be trusted or compared.
    """
    read_baseline(baseline)  # what is wrong there should not wait for the suite
    return check(baseline, _measure(results, first, perf), rules)


def update_now(
    baseline: Path, results: Path | None = None, first: FirstRun | None = None,
    perf: Path | None = None,
) -> Updated:  # fmt: skip
    """Write the baseline from the same sources.

    Raises:
        UsageError: one of them cannot be trusted, or the baseline not be read or written.
    """
    if baseline.exists():
        read_baseline(baseline)
    return update(baseline, _measure(results, first, perf))


def run_first(first: FirstRun, folder: Path) -> None:
    """Run into a results folder; what fails there is missing to whoever reads it."""
    from benchmark.artifacts.settings import RunSettings
    from benchmark.cli import launch

    settings = RunSettings(results=folder, device="auto", data_dir=first.data_dir)
    launch.run(first.values, first.suite, settings, quiet=True, json=False, dry_run=False)


def _measure(results: Path | None, first: FirstRun | None, perf: Path | None) -> GateInput:
    """What there is now; what is run first runs in `results`, or in a folder that vanishes."""
    if first is None:
        nothing_said = results is None and perf is None
        return measured(Path("results") if nothing_said else results, perf)
    with tempfile.TemporaryDirectory(prefix="reattack-") as temporary:
        folder = results or Path(temporary)
        run_first(first, folder)
        return measured(folder, perf)
