"""`compare`: two defenses or two runs, cell by cell on the same images."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  python -m benchmark compare standard pgd_at
  python -m benchmark compare 'pgd_at[epochs=8]' meta_adv --results DIR --out DIR
  python -m benchmark compare results-before results-after --json

\b
Exit code: 0 compared, 2 no two cells pair, or wrong use.
"""


def compare(
    a: Annotated[str, typer.Argument(help="A defense as tables name it, or a results folder.")],
    b: Annotated[str, typer.Argument(help="Likewise; positive differences are in its favour.")],
    results: Annotated[
        Path, typer.Option("--results", help="Folder of records where A and B are defenses.")
    ] = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.csv, .json and the figures.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.")
    ] = False,
) -> None:
    """Differences with intervals, odds, and exact paired tests corrected over all cells."""
    from reports.comparison.table import as_json, write_comparison
    from reports.comparison.table import compare as compared

    found = compared(a, b, results)
    if json:
        typer.echo(json_module.dumps(as_json(found), allow_nan=False))
    else:
        from rich.console import Console

        from reports.comparison.console import print_comparison

        wide = None if sys.stdout.isatty() else 200  # a pipe has no width
        print_comparison(found, Console(highlight=False, width=wide))
    if out is not None:
        from reports.comparison.plot import write_figures

        for path in [*write_comparison(found, out), *write_figures(found, out)]:
            typer.echo(str(path), err=True)
