"""`share`: results in the forms that other places and tools read."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.commands.report import labels_of
from benchmark.cli.options import (
    DataDir,
    Device,
    Network,
    Results,
    Strengths,
    importing,
    text_of,
)

EXAMPLES = """\b
Examples:
  python -m benchmark share --results results --out share
  python -m benchmark share --results results --data-dir DIR --out share
  python -m benchmark share --results results --model my_model.py:Net
  python -m benchmark share --schema
"""


def share(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    results: Results = Path("results"),
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("share"),
    model: Annotated[
        str | None,
        typer.Option(
            help="Of records of this model, given as `run --defense` took it, samples say the "
            "predicted classes: without an attack, and under it where `run` kept examples."
        ),
    ] = None,
    network: Network = None,
    strengths: Strengths = None,
    data_dir: DataDir = None,
    device: Device = "auto",
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
    from reports.summary.share import Predictions, write_shared
    from reports.tidy.frame import load

    frame = load(results)
    said: Predictions = {}
    if model is not None:
        with importing():
            from benchmark.artifacts.settings import RunSettings
            from benchmark.cli.submission.predicting import predictions

        settings = RunSettings(
            results=results, data_dir=data_dir, device=device, executor="here",
            strengths=text_of("--strengths", strengths),
        )  # fmt: skip
        said = predictions(model, network, settings)
    for path in write_shared(frame, out, partial(labels_of, data_dir), said):
        typer.echo(str(path))
