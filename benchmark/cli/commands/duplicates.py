"""`duplicates`: which attacks do the same to the same images."""

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
)
from benchmark.core.errors import UsageError

EXAMPLES = """\b
Examples:
  python -m benchmark duplicates --defense pgd_at --attacks all --limit 100
  python -m benchmark duplicates --defense standard,pgd_at \\
      --attacks 'family:linf-gradient' --limit 200
  python -m benchmark duplicates --defense mine.py:Net --dataset cifar10 --data-dir DIR \\
      --attacks 'pgd_*,fgsm,bim,mifgsm,square' --threshold 0.9 --json
  python -m benchmark leaderboard --results results \\
      --distinct results/duplicates/clusters.csv

\b
Two attacks are as alike as the least of: the cosine of their perturbations of the
same images (mean over those that are right without an attack), the share of
verdicts in which they agree and, with several defenses, that of the other models'
verdicts on the same examples. Clusters are average linkage cut at the threshold,
named after the attack that breaks most. An attack and itself with another random
start are 0.84 to 0.93 alike (PGD, digits): hence 0.8.
Writes pairs.csv, clusters.csv, transfer.csv, dendrogram.png and .svg. Examples
come from the cache where `run` or this command made them before.
Exit code: 0 compared, 1 cells failed or interrupted, 2 wrong use.
"""


def duplicates(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    defense: Annotated[str, typer.Option(help="As in `run`; several show what transfers.")],
    attacks: Annotated[str, typer.Option(help="As in `run`.")] = "all",
    threshold: Annotated[
        float, typer.Option(help="Similarity, 0 to 1, from which two are duplicates.")
    ] = 0.8,
    dataset: Annotated[str | None, typer.Option(help="As in `run`. [digits]")] = None,
    network: Network = None,
    seed: Annotated[int, typer.Option(help="Of training and of every draw.")] = 0,
    limit: Annotated[int, typer.Option(help="Compare on so many test images.")] = 100,
    strengths: Strengths = None,
    data_dir: DataDir = None,
    download: Download = False,
    results: Results = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="Folder to write into. [`duplicates` in the results]")
    ] = None,
    device: Device = "auto",
    jobs: Annotated[int | None, typer.Option(help="Processes, as in `run`.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no table.")] = False,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Find attacks that are one attack under several names: pairs, clusters, a dendrogram."""
    with importing():
        from benchmark.artifacts.settings import RunSettings
        from benchmark.cli import duplicates as comparison

    if not 0 < threshold <= 1:
        raise UsageError(f"--threshold: expected more than 0 and at most 1, got {threshold:g}")
    values = {
        "defenses": defense, "attacks": attacks, "dataset": dataset, "network": network,
        "shots": [0], "seeds": [seed], "limit": limit,
    }  # fmt: skip
    settings = RunSettings(
        results=results, data_dir=data_dir, download=download, device=device, jobs=jobs,
        strengths=text_of("--strengths", strengths),
    )  # fmt: skip
    code = comparison.duplicates(
        values, threshold, settings, out, quiet=quiet, json=json, dry_run=dry_run
    )
    raise typer.Exit(code)
