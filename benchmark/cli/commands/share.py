"""`share`: results in the forms that other places and tools read."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.commands.report import labels_of
from benchmark.cli.options import DataDir, Results

EXAMPLES = """\b
Examples:
  python -m benchmark share --results results --out share
  python -m benchmark share --results results --data-dir DIR --out share
  python -m benchmark share --schema
"""


def share(
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("share"),
    data_dir: DataDir = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", help="Print the JSON Schemas of a record and a sample instead."),
    ] = False,
) -> None:
    """Write for each defense what a Hugging Face model page takes, and a JSON line a sample."""
    if schema:
        from benchmark.results.records import Record
        from reports.summary.share import Sample

        schemas = {"record": Record.model_json_schema(), "sample": Sample.model_json_schema()}
        typer.echo(json.dumps(schemas, indent=1))
        return
    from reports.summary.share import write_shared
    from reports.tidy.frame import load

    for path in write_shared(load(results), out, partial(labels_of, data_dir)):
        typer.echo(str(path))
