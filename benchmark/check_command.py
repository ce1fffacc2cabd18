"""`check`: a gate for robust accuracy. Green, red, or not decidable, as an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.core.errors import UsageError

if TYPE_CHECKING:
    from reports.regression import Judgement, Rules

EXAMPLES = """\b
Examples:
  python -m benchmark check --update --baseline baseline.json --results DIR
  python -m benchmark check --baseline baseline.json --results DIR --junit gate.xml
  python -m benchmark check --baseline baseline.json --suite ci --tolerance 3
  python -m benchmark check --baseline baseline.json --perf benchmarks.json
  python -m benchmark check --power

\b
Exit code: 0 nothing regressed, 1 something did, 2 cells are missing or cannot be
compared, or wrong use.
"""


def check(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    baseline: Annotated[
        Path | None, typer.Option(help="What to compare with: a file written by --update.")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder of records; with --suite, where it runs. [results]")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="Run this suite first, e.g. ci; in a folder of its own.")
    ] = None,
    perf: Annotated[
        Path | None, typer.Option(help="JSON of pytest-benchmark with ratios in extra_info.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="Points that a cell may lose.")] = 1.0,
    alpha: Annotated[
        float, typer.Option(help="Chance of any false alarm, at most: after Holm's correction.")
    ] = 0.01,
    perf_tolerance: Annotated[
        float, typer.Option(help="Share of a ratio that may be lost.")
    ] = 0.15,
    update: Annotated[
        bool, typer.Option("--update", help="Write the baseline instead of comparing with it.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
    github: Annotated[
        bool, typer.Option("--github", help="Print annotations. [where GITHUB_ACTIONS is set]")
    ] = False,
    power: Annotated[
        bool, typer.Option("--power", help="Show which drops are seen on how many images.")
    ] = False,
) -> None:
    """Fail if robust accuracy fell on the same images, by more than chance and the tolerance."""
    from reports.gate import check as judged
    from reports.gate import measured
    from reports.regression import Rules

    rules = Rules(*_in_range(tolerance, alpha, perf_tolerance))
    if power:
        raise typer.Exit(_show_power(rules))
    if baseline is None:
        raise UsageError("expected --baseline FILE (or --power); --update writes a new one")
    if results is None and suite is None and perf is None:
        results = Path("results")
    with _measured_in(suite, results) as folder:
        if update:
            raise typer.Exit(_update(baseline, folder, perf))
        judgement = judged(baseline, measured(folder, perf), rules)
    _show(judgement, junit, github or os.environ.get("GITHUB_ACTIONS") == "true")
    raise typer.Exit(judgement.code)


def _in_range(tolerance: float, alpha: float, perf_tolerance: float) -> Iterator[float]:
    flags = (
        ("tolerance", tolerance, 100),
        ("alpha", alpha, 1),
        ("perf-tolerance", perf_tolerance, 1),
    )
    for name, value, most in flags:
        if not 0 <= value < most:
            raise UsageError(f"--{name}: expected at least 0 and less than {most}, got {value:g}")
        yield value


@contextmanager
def _measured_in(suite: str | None, results: Path | None) -> Iterator[Path | None]:
    """The results folder; a suite runs first, in `results` or in a folder that vanishes."""
    if suite is None:
        yield results
        return
    with tempfile.TemporaryDirectory(prefix="reattack-") as temporary:
        folder = results or Path(temporary)
        run_suite(suite, folder)
        yield folder


def run_suite(suite: str, folder: Path) -> None:
    """Run a suite into a results folder; what fails there is missing to whoever reads it."""
    from benchmark import session
    from benchmark.executors import Team
    from benchmark.limits import Limits

    wish = session.Wish(
        suite, folder, None, False, "auto", "float32", Team("auto", None, None, None), None,
        Limits(None, None), sys.argv[1:],
    )  # fmt: skip
    session.run({}, wish, quiet=True, json=False, dry_run=False)


def _update(baseline: Path, folder: Path | None, perf: Path | None) -> int:
    from reports.gate import measured, update

    updated = update(baseline, measured(folder, perf))
    for name in updated.dropped:
        typer.echo(f"no longer gated: {_visible(name)}")
    cells, ratios = len(updated.new.cells), len(updated.new.ratios)
    typer.echo(f"{baseline}: {cells} cells, {ratios} ratios, {len(updated.new.floors)} floors")
    return 0


def _show(judgement: Judgement, junit: Path | None, github: bool) -> None:
    from rich.console import Console

    from reports.console_gate import print_judgement
    from reports.gate import write_pages
    from reports.gate_pages import github_lines

    wide = None if sys.stdout.isatty() else 200  # a pipe has no width
    print_judgement(judgement, Console(highlight=False, width=wide))
    for line in github_lines(judgement) if github else ():
        typer.echo(line)
    write_pages(judgement, junit, os.environ)
    missing = judgement.those("missing")
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(judgement.entries)} cells are missing, e.g. "
            f"{_visible(missing[0].name)}: {missing[0].problems[0]}; run them, or write a new "
            "baseline with --update"
        )


def _show_power(rules: Rules) -> int:
    from rich.console import Console

    from reports.console_gate import print_power
    from reports.power import power_table

    wide = None if sys.stdout.isatty() else 200
    print_power(power_table(rules), rules, Console(highlight=False, width=wide))
    return 0


def _visible(name: str) -> str:
    from reports.scored import WIDEST
    from reports.text import visible

    return visible(name, WIDEST)
