"""`curve`: accuracy against one option of an attack."""

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
    numbers,
    text_of,
    words,
)

EXAMPLES = """\b
Examples:
  python -m benchmark curve --defense pgd_at --attack pgd_linf \\
      --vary eps=0,0.05,0.1,0.2,0.3
  python -m benchmark curve --defense pgd_at --attack pgd_linf,pgd_linf_dlr \\
      --vary steps=1,2,5,10,20,50,100
  python -m benchmark curve --defense standard,pgd_at --attack 'pgd_linf[steps=10]' \\
      --vary restarts=1,2,4,8 --limit 500
  python -m benchmark curve --defense pgd_at --attack square --vary queries=10,100,1000
  python -m benchmark curve --defense mine.py:Net --dataset cifar10 --data-dir DIR \\
      --attack aa_linf --vary eps=0,2/255,4/255,8/255,16/255,32/255 --limit 200
  python -m benchmark curve --defense meta_adv --attack pgd_linf --vary eps=0,0.1,0.2 \\
      --shots 10 --episodes 3

\b
The cells are those of `run` with the same attacks: what a results folder has
already is not run again, and a stopped run goes on. Two lines are checked:
  not monotone        more of the option leaves more images standing, p < 0.05
                      (exact McNemar test on the same images, not corrected)
  chance not reached  at the largest eps more is right than guessing gives
Exit code: 0 all done, 1 cells failed or interrupted, 2 wrong use.
"""


def curve(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    defense: Annotated[str, typer.Option(help="As in `run`; several are several lines.")],
    attack: Annotated[str, typer.Option(help="As --attacks in `run`, without the option.")],
    vary: Annotated[str, typer.Option(help="The option and its values: eps=0,8/255,0.1.")],
    unordered: Annotated[
        bool, typer.Option("--unordered", help="More of it need not be worse: check nothing.")
    ] = False,
    dataset: Annotated[str | None, typer.Option(help="As in `run`. [digits]")] = None,
    network: Network = None,
    shots: Annotated[
        str | None, typer.Option(help="Shown images per class; K = 0 is beside them always.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="Draws of the support. [3]")] = None,
    adapt: Annotated[str | None, typer.Option(help="As in `run`. [finetune]")] = None,
    knowledge: Annotated[str | None, typer.Option(help="As in `run`. [captured]")] = None,
    seed: Annotated[int, typer.Option(help="Of training and of every draw.")] = 0,
    limit: Annotated[int | None, typer.Option(help="Score so many test images only.")] = None,
    strengths: Strengths = None,
    data_dir: DataDir = None,
    download: Download = False,
    results: Results = Path("results"),
    out: Annotated[
        Path | None, typer.Option(help="Folder for CSV, PNG and SVG. [`curves` in the results]")
    ] = None,
    device: Device = "auto",
    jobs: Annotated[int | None, typer.Option(help="Processes, as in `run`.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no table.")] = False,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Accuracy against eps, steps, restarts or queries, checked for what cannot be."""
    with importing():
        from benchmark.artifacts.settings import RunSettings
        from benchmark.cli import curve as curves

    varied = curves.Varied.parse(vary)
    values = {
        "defenses": defense, "attacks": attack, "dataset": dataset, "network": network,
        "shots": sorted({0, *(numbers("--shots", shots) or [])}), "episodes": episodes,
        "methods": words("--adapt", adapt), "knowledge": words("--knowledge", knowledge),
        "seeds": [seed], "limit": limit,
    }  # fmt: skip
    settings = RunSettings(
        results=results, data_dir=data_dir, download=download, device=device, jobs=jobs,
        strengths=text_of("--strengths", strengths),
    )  # fmt: skip
    code = curves.curve(
        values, varied, settings, out, ordered=not unordered, quiet=quiet, json=json,
        dry_run=dry_run,
    )  # fmt: skip
    raise typer.Exit(code)
