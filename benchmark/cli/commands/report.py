"""`report`, `leaderboard`, `reference` and `compare`: what is made of records."""

from __future__ import annotations

import json as json_module
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.options import DataDir, Json, Results, importing

if TYPE_CHECKING:
    from benchmark.core.schema import About

LEADERBOARD_EXAMPLES = """\b
Examples:
  python -m benchmark leaderboard --results results --out board
  python -m benchmark leaderboard --results mine --results theirs.records.gz --out board
  python -m benchmark leaderboard --results mine --with-reference --out board
  python -m benchmark leaderboard --results theirs --submission theirs.json --out board
  python -m benchmark leaderboard --submission theirs.records.gz --with-reference --out board
  python -m benchmark leaderboard --results mine --distinct mine/duplicates/clusters.csv
"""

COMPARE_EXAMPLES = """\b
Examples:
  python -m benchmark compare standard pgd_at
  python -m benchmark compare 'pgd_at[epochs=8]' meta_adv --results DIR --out DIR
  python -m benchmark compare results-before results-after --json

\b
Exit code: 0 compared, 2 no two cells pair, or wrong use.
"""

Distinct = Annotated[
    Path | None,
    typer.Option(
        help="clusters.csv of `duplicates`: near-duplicates count once. [every attack counts]"
    ),
]
ResultsFolders = Annotated[
    list[Path],
    typer.Option("--results", help="Results folder, or a file made by `reference`; repeatable."),
]


def report(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("report"),
    equal_training: Annotated[
        str | None,
        typer.Option(help="Only defenses trained with as many passes as this one: pgd_at:10%."),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(help="Defenses that differ in these options only are one row: attacks."),
    ] = None,
    sheet: Annotated[
        bool,
        typer.Option(
            "--sheet", help="Also what every attack does to the first images, as pictures."
        ),
    ] = False,
    distinct: Distinct = None,
) -> None:
    """Write the tidy table (CSV, Parquet), a Markdown summary and the plots (PNG, SVG)."""
    from reports.plots.write import write_sheets
    from reports.summary.write import write_report
    from reports.tidy.sources import gather

    files = write_report(results, out, equal_training, join, distinct, about_of)
    for problem in files.problems:
        typer.echo(problem, err=True)
    pictures = write_sheets(gather([results]), out) if sheet else []
    for path in (files.csv, files.parquet, files.markdown, *files.further, *files.plots, *pictures):
        typer.echo(str(path))


def leaderboard(  # noqa: PLR0913, PLR0917 (a command takes its options)
    results: Annotated[
        list[Path] | None,
        typer.Option(
            "--results",
            help="Results folder, or a file made by `reference`; repeatable. [results; nothing "
            "where records are handed in]",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("leaderboard"),
    with_reference: Annotated[
        bool, typer.Option("--with-reference", help="Beside the project's own records.")
    ] = False,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Read labels, so that rows open to their classes.")
    ] = False,
    data_dir: DataDir = None,
    submission: Annotated[
        list[Path],
        typer.Option(
            help="Of others: records, of which is said what was verified, trusted or missing; or "
            "a leaderboard.json, whose scores must be those of its records; repeatable."
        ),
    ] = [],  # noqa: B006
    distinct: Distinct = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Of the exports, and first seen on the page: clean,gain,audit."),
    ] = None,
) -> None:
    """Rank defenses: one page that works offline, and the same as Markdown, CSV, LaTeX, JSON."""
    from reports.leaderboard.columns import chosen
    from reports.leaderboard.write import Claims, Look, write_leaderboard

    look = Look(about_of, None if columns is None else chosen(columns))
    labels = partial(labels_of, data_dir) if per_class else None
    scores = [path for path in submission if path.suffix == ".json"]
    records = [path for path in submission if path not in scores]
    refused: dict[tuple[str, str, str], str] = {}
    if records:
        with importing():
            from benchmark.cli.submission.judging import judged

        refused = judged(records, with_reference)
    claims = Claims(scores, refused)
    places = [*(results or ([] if records else [Path("results")])), *records]
    for path in write_leaderboard(places, out, with_reference, claims, labels, distinct, look):
        typer.echo(str(path))


def about_of(name: str) -> About:
    """What a registered defense says of itself; torch waits until a record does not say."""
    with importing():
        from baselines.build import about_of

    return about_of(name)


def labels_of(data_dir: Path | None, name: str) -> dict[str, list[int]]:
    """The labels of a data set's test images, by their hash; none where it is not at hand."""
    from benchmark.data.catalog import DATASETS
    from benchmark.data.load import load, unavailable

    reason = unavailable(name, data_dir) if name in DATASETS else f"unknown data set {name!r}"
    if reason is not None:
        typer.echo(f"no table of classes: {' '.join(reason.split())}", err=True)
        return {}
    test = load(name, data_dir, download=False, seed=0).test
    return {test.hash: test.labels.tolist()}


def reference(
    results: ResultsFolders = [Path("results")],  # noqa: B006
    out: Annotated[Path, typer.Option(help="File to write: NAME.records.gz.")] = Path(
        "reference.records.gz"
    ),
) -> None:
    """Write the records of results folders into one small file, to ship or to send."""
    from reports.archive.audited import write_audits
    from reports.archive.reference import write_file
    from reports.tidy.sources import gather

    sources = gather(results)
    typer.echo(f"{write_file((one.record for one in sources), out)}: {len(sources)} records")
    audits = {one.audit.weights: one.audit for one in sources if one.audit}
    if path := write_audits((one.audit for one in sources if one.audit), out):
        typer.echo(f"{path}: {len(audits)} audits")


def compare(
    a: Annotated[str, typer.Argument(help="A defense as tables name it, or a results folder.")],
    b: Annotated[str, typer.Argument(help="Likewise; positive differences are in its favour.")],
    results: Annotated[
        Path, typer.Option("--results", help="Folder of records where A and B are defenses.")
    ] = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for comparison.csv, .json and the figures.")
    ] = None,
    json: Json = False,
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
        print_comparison(found, Console(emoji=False, highlight=False, width=wide))
    if out is not None:
        from reports.comparison.plot import write_figures
        from reports.leaderboard.naming import titles

        names = titles((found.a, found.b), about_of)
        for path in [*write_comparison(found, out), *write_figures(found, out, names)]:
            typer.echo(str(path), err=True)
