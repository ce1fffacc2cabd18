"""`audit`: can a robust accuracy be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import (
    DataDir,
    Device,
    Download,
    DryRun,
    Json,
    Network,
    Results,
    Strengths,
    importing,
    text_of,
    words,
)

EXAMPLES = """\b
Examples:
  python -m benchmark audit --defense pgd_at
  python -m benchmark audit --defense standard,pgd_at --limit 100 --json
  python -m benchmark audit --defense mine.py:Net --dataset cifar10 --data-dir DIR \\
      --follow-advice
  python -m benchmark audit --defense 'checkpoint[path=weights.pt]' --network lenet5 \\
      --dataset mnist --data-dir DIR --parts model --part-time 60
  python -m benchmark audit --suite reference --results results
  python -m benchmark leaderboard --results results

\b
Each finding is a flag: its code, the number against its threshold, what it means
and what to do. The verdict: sound (no flag), doubtful (the score is less certain
than it looks), broken (attacks fail for reasons of their own). It is kept in
DIR/audits after each part, with a page in HTML; the leaderboard shows it beside
every row of the same weights, and `check` turns red where a flag is new. A
stopped audit goes on; parts that failed are tried again.
Exit code: 0 audited, whatever the verdict; 1 a model could not be audited, or
interrupted; 2 wrong use.
"""


def audit(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    defense: Annotated[
        str | None, typer.Option(help="As in `run`; several are audited in turn.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="In place of --defense: those of a suite, on its data.")
    ] = None,
    parts: Annotated[
        str | None, typer.Option(help="Parts of the audit, comma-separated. [all]")
    ] = None,
    follow_advice: Annotated[
        bool,
        typer.Option(
            "--follow-advice",
            help="Run the attacks that flags advise beside aa_linf, on as many test images: the "
            "score that the doubt leaves.",
        ),
    ] = False,
    dataset: Annotated[str | None, typer.Option(help="As in `run`. [digits]")] = None,
    network: Network = None,
    seed: Annotated[int, typer.Option(help="Of training and of every draw.")] = 0,
    limit: Annotated[int, typer.Option(help="Validation images that are looked at.")] = 200,
    part_time: Annotated[float, typer.Option(help="Seconds that each part may take.")] = 600.0,
    strengths: Strengths = None,
    data_dir: DataDir = None,
    download: Download = False,
    results: Results = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for the pages. [beside the records of audits]")
    ] = None,
    device: Device = "auto",
    jobs: Annotated[int | None, typer.Option(help="Processes of --follow-advice.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no findings.")] = False,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Look for what makes a robust accuracy doubtful: masked gradients, attacks that fail."""
    with importing():
        from benchmark.artifacts.settings import RunSettings
        from benchmark.cli.audit import command

    values = {
        **command.models_of(defense, suite), "seeds": [seed], "limit": limit,
        **{name: said for name, said in (("dataset", dataset), ("network", network)) if said},
    }  # fmt: skip
    asked = command.Asked(words("--parts", parts), part_time, follow_advice, out)
    settings = RunSettings(
        results=results, data_dir=data_dir, download=download, device=device, jobs=jobs,
        strengths=text_of("--strengths", strengths),
    )  # fmt: skip
    code = command.audit(values, asked, settings, quiet=quiet, json=json, dry_run=dry_run)
    raise typer.Exit(code)
