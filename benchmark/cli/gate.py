"""The gate as one call, for the command `check` and for the plugin of pytest."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

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


def judge_now(
    baseline: Path, rules: Rules, results: Path | None = None, suite: str | None = None,
    perf: Path | None = None,
) -> Judgement:  # fmt: skip
    """Judge a results folder, a suite that runs first, a file of benchmarks, or several of them.

    Raises:
        UsageError: anything cannot be trusted or compared.
    """
    read_baseline(baseline)  # what is wrong there should not wait for the suite
    return check(baseline, _measure(results, suite, perf), rules)


def update_now(
    baseline: Path, results: Path | None = None, suite: str | None = None, perf: Path | None = None
) -> Updated:
    """Write the baseline from the same sources.

    Raises:
        UsageError: one of them cannot be trusted, or the baseline not be read or written.
    """
    if baseline.exists():
        read_baseline(baseline)
    return update(baseline, _measure(results, suite, perf))


def run_suite(suite: str, folder: Path) -> None:
    """Run a suite into a results folder; what fails there is missing to whoever reads it."""
    from benchmark.artifacts.settings import RunSettings
    from benchmark.cli import launch

    settings = RunSettings(results=folder, device="auto")
    launch.run({}, suite, settings, quiet=True, json=False, dry_run=False)


def _measure(results: Path | None, suite: str | None, perf: Path | None) -> GateInput:
    """What there is now; a suite runs in `results`, or in a folder that vanishes."""
    if suite is None:
        nothing_said = results is None and perf is None
        return measured(Path("results") if nothing_said else results, perf)
    with tempfile.TemporaryDirectory(prefix="reattack-") as temporary:
        folder = results or Path(temporary)
        run_suite(suite, folder)
        return measured(folder, perf)
