"""`verify`: whether a model gives the verdicts that somebody hands in of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import DataDir, Device, Download, Network, Strengths, importing, text_of

EXAMPLES = """\b
Examples:
  python -m benchmark verify --submission mine.records.gz --model my_model.py:Net
  python -m benchmark verify --submission theirs.records.gz --defense their.py:Net \\
      --model 'checkpoint[path=weights.safetensors]' --network lenet5 --data-dir DIR

\b
At least 300 verdicts of at least 3 attacks, drawn by the hash of the records, are asked
again, with all budgets of these attacks: clean, stored, attacked again, and by who knows
the rule. More flips than rounding explains (exact binomial test at 2 %, level 1 %), in one
table or in all, are a mismatch. Attacks that were not drawn, costs, and what adaptation
moved or inferred are not asked; nor are parts of `--verdicts union`.
Exit code: 0 the model gives these verdicts; 1 it does not; 2 wrong use.
"""


def verify(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    submission: Annotated[
        Path, typer.Option(help="File of records made by `reference`, or a results folder.")
    ],
    model: Annotated[str, typer.Option(help="The model, as `run --defense` takes it.")],
    defense: Annotated[
        str | None, typer.Option(help="Whose records, where the file holds several defenses.")
    ] = None,
    network: Network = None,
    strengths: Strengths = None,
    data_dir: DataDir = None,
    download: Download = False,
    device: Device = "auto",
) -> None:
    """Ask a model again for verdicts that were handed in of it, drawn by the file's hash."""
    with importing():
        from benchmark.artifacts.settings import RunSettings
        from benchmark.cli.submission.verifying import verify

    settings = RunSettings(
        results=Path(), data_dir=data_dir, download=download, device=device, executor="here",
        strengths=text_of("--strengths", strengths),
    )  # fmt: skip
    raise typer.Exit(verify(submission, model, defense, network, settings))
