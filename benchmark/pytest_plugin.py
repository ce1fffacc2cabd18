"""A pytest plugin: the gate for robust accuracy inside your own test suite. It loads by itself.

    @pytest.mark.robustness(baseline="tests/baseline.json", results="results", tolerance=2)
    def test_no_robustness_was_lost():
        pass

    def test_nor_in_another_run(robustness):
        judgement = robustness(baseline="tests/baseline.json", suite="ci")
        assert not judgement.those("new")

The marker compares when the test is called, and fails it with the reasons. The fixture is a
function that does so; what it is not told it takes from the marker, and it returns the
`reports.gate.judge.Judgement` of a check that passed. Arguments are those of `python -m benchmark
check`: `baseline`; of `results`, `suite` and `perf` at least one; `tolerance`, `alpha`,
`perf_tolerance`. Paths are relative to pytest's root directory. Nothing heavy is imported before a
check runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from reports.gate.judge import Judgement

NAME = "robustness"
ARGUMENTS = ("baseline", "results", "suite", "perf", "tolerance", "alpha", "perf_tolerance")
File = str | PathLike[str]


@dataclass(frozen=True)
class Gate:
    """What the fixture is: a check that fails the test."""

    root: Path
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Of the marker, if there is one."""

    def __call__(
        self, *, baseline: File | None = None, results: File | None = None,
        suite: str | None = None, perf: File | None = None, tolerance: float | None = None,
        alpha: float | None = None, perf_tolerance: float | None = None,
    ) -> Judgement:  # fmt: skip
        """Fail the test if something regressed, is missing or cannot be compared."""
        told = (baseline, results, suite, perf, tolerance, alpha, perf_tolerance)
        said = dict(zip(ARGUMENTS, told, strict=True))
        return _check(
            self.root, {**self.defaults, **{k: v for k, v in said.items() if v is not None}}
        )


@pytest.fixture
def robustness(request: pytest.FixtureRequest) -> Gate:
    """The gate as a function; arguments of the marker, if there is one, are its defaults."""
    marker = request.node.get_closest_marker(NAME)
    return Gate(request.config.rootpath, dict(marker.kwargs) if marker else {})


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    arguments = ", ".join(ARGUMENTS)
    config.addinivalue_line("markers", f"{NAME}({arguments}): fail if robust accuracy fell")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Check for tests that have the marker and do not ask for the fixture."""
    marker = item.get_closest_marker(NAME)
    if marker is not None and NAME not in getattr(item, "fixturenames", ()):
        _check(item.config.rootpath, marker.kwargs)


def _check(root: Path, wanted: Mapping[str, Any]) -> Judgement:
    from benchmark.cli.gate import FirstRun, judge_now, make_rules
    from benchmark.core.errors import UsageError

    try:
        if "baseline" not in wanted or not {*wanted} <= {*ARGUMENTS}:
            raise UsageError(
                f"{NAME}: expected baseline=FILE, and of {', '.join(ARGUMENTS[1:])} those you "
                f"need; got {', '.join(wanted) or 'nothing'}"
            )
        rules = make_rules(**{name: wanted[name] for name in ARGUMENTS[4:] if name in wanted})
        files = {name: root / wanted[name] for name in ("baseline", "results", "perf")
                 if name in wanted}  # fmt: skip
        first = FirstRun.of(wanted.get("suite"), {}, None)
        judgement = judge_now(rules=rules, first=first, **files)
    except UsageError as error:
        pytest.fail(" ".join(str(error).split()), pytrace=False)
    if judgement.code:
        pytest.fail(_reasons(judgement), pytrace=False)
    return judgement


def _reasons(judgement: Judgement) -> str:
    from reports.gate.outputs import counted, reasons

    return "\n".join([f"robust accuracy: {counted(judgement)}", *reasons(judgement)])
