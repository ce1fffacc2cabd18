"""`leaderboard` and `reference`: pages made of records, and records in one file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = """\b
Examples:
  python -m benchmark leaderboard --results results --out board
  python -m benchmark leaderboard --results mine --results theirs.records.gz --out board
  python -m benchmark leaderboard --results mine --with-reference --out board
  python -m benchmark leaderboard --results theirs --submission theirs.json --out board
"""

Places = Annotated[
    list[Path],
    typer.Option("--results", help="Results folder, or a file made by `reference`; repeatable."),
]


def leaderboard(
    results: Places = [Path("results")],  # noqa: B006 (typer copies it)
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("leaderboard"),
    with_reference: Annotated[
        bool, typer.Option("--with-reference", help="Beside the project's own records.")
    ] = False,
    per_class: Annotated[
        bool, typer.Option("--per-class", help="Read labels, so that rows open to their classes.")
    ] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Where data sets are.")] = None,
    submission: Annotated[
        list[Path],
        typer.Option(help="leaderboard.json of others: every score is recomputed; repeatable."),
    ] = [],  # noqa: B006
) -> None:
    """Rank defenses: one page that works offline, and the same as Markdown, CSV, LaTeX, JSON."""
    from reports.leaderboard.write import write_leaderboard

    labels = partial(_labels, data_dir) if per_class else None
    for path in write_leaderboard(results, out, with_reference, submission, labels):
        typer.echo(str(path))


def _labels(data_dir: Path | None, name: str) -> dict[str, list[int]]:
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
    results: Places = [Path("results")],  # noqa: B006
    out: Annotated[Path, typer.Option(help="File to write: NAME.records.gz.")] = Path(
        "reference.records.gz"
    ),
) -> None:
    """Write the records of results folders into one small file, to ship or to send."""
    from reports.archive.reference import write_file
    from reports.tidy.sources import gather

    sources = gather(results)
    typer.echo(f"{write_file((one.record for one in sources), out)}: {len(sources)} records")
