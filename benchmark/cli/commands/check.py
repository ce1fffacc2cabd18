"""`check`: a gate for robust accuracy. Green, red, or not decidable, as an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import DataDir
from benchmark.core.errors import UsageError

if TYPE_CHECKING:
    from reports.gate.check import Updated
    from reports.gate.judge import Judgement, Rules

EXAMPLES = """\b
Examples:
  python -m benchmark check --update --baseline baseline.json --results DIR
  python -m benchmark check --baseline baseline.json --results DIR --junit gate.xml
  python -m benchmark check --baseline baseline.json --suite ci --tolerance 3
  python -m benchmark check --baseline baseline.json --perf benchmarks.json
  python -m benchmark check --baseline baseline.json --defense mine.py:Net \\
      --attacks fgsm,pgd_linf,square --dataset npz:data.npz --limit 1000
  python -m benchmark check --power

\b
Exit code: 0 nothing regressed, 1 something did, 2 cells are missing or cannot be
compared, or wrong use.
"""

SHOWN = 20
"""Lines on what an update leaves out."""


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
    defense: Annotated[
        str | None, typer.Option(help="Run these first, as `run` does, in place of a suite's.")
    ] = None,
    attacks: Annotated[str | None, typer.Option(help="Of that run. [those of the suite]")] = None,
    dataset: Annotated[str | None, typer.Option(help="Of that run.")] = None,
    network: Annotated[str | None, typer.Option(help="Of that run.")] = None,
    limit: Annotated[int | None, typer.Option(help="Images that run scores.")] = None,
    data_dir: DataDir = None,
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
    from benchmark.cli.gate import FirstRun, judge_now, make_rules, update_now

    rules = make_rules(tolerance, alpha, perf_tolerance)
    said = {"attacks": attacks, "dataset": dataset, "network": network, "limit": limit}
    asked = FirstRun.of(suite, {"defenses": defense, **said}, data_dir)
    if power:
        _show_power(rules)
    elif baseline is None:
        raise UsageError("expected --baseline FILE (or --power); --update writes a new one")
    elif update:
        _tell(baseline, update_now(baseline, results, asked, perf))
    else:
        github = github or os.environ.get("GITHUB_ACTIONS") == "true"
        with _annotated(github):
            judgement = judge_now(baseline, rules, results, asked, perf)
        _show(judgement, junit, github)
        raise typer.Exit(judgement.code)


@contextmanager
def _annotated(github: bool) -> Iterator[None]:
    """What stops the gate is said to GitHub as well."""
    try:
        yield
    except UsageError as error:
        if github:
            from reports.gate.outputs import LONG, annotation
            from reports.tidy.escape import visible

            told = visible(str(error), LONG)
            typer.echo(annotation("error", "Robustness not checked", told))
        raise


def _tell(baseline: Path, updated: Updated) -> None:
    dropped = updated.dropped
    for name in dropped[:SHOWN]:
        typer.echo(f"no longer gated: {_visible(name)}")
    if len(dropped) > SHOWN:
        typer.echo(f"... and {len(dropped) - SHOWN} more; the diff of {baseline} has them all")
    cells, ratios = len(updated.new.cells), len(updated.new.ratios)
    typer.echo(f"{baseline}: {cells} cells, {ratios} ratios, {len(updated.new.floors)} floors")


def _show(judgement: Judgement, junit: Path | None, github: bool) -> None:
    from rich.console import Console

    from reports.gate.check import write_pages
    from reports.gate.console import print_judgement
    from reports.gate.outputs import github_lines
    from reports.gate.power import seen_drop

    wide = None if sys.stdout.isatty() else 200  # a pipe has no width
    if drop := seen_drop(judgement):
        typer.echo(drop)
    print_judgement(judgement, Console(emoji=False, highlight=False, width=wide))
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


def _show_power(rules: Rules) -> None:
    from rich.console import Console

    from reports.gate.console import print_power
    from reports.gate.power import power_table

    wide = None if sys.stdout.isatty() else 200
    print_power(power_table(rules), rules, Console(emoji=False, highlight=False, width=wide))


def _visible(name: str) -> str:
    from reports.tidy.escape import visible
    from reports.tidy.verdicts import WIDEST

    return visible(name, WIDEST)
