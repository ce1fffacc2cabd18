"""`tune`: choose how a defense adapts, on validation attacks and validation images alone."""

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
    grid,
    importing,
    numbers,
    words,
)
from benchmark.core.errors import UsageError

EXAMPLES = """\b
Examples:
  python -m benchmark tune --defense pgd_at
  python -m benchmark tune --defense pgd_at,meta_adv --shots 10 --episodes 5 --methods finetune,head
  python -m benchmark tune --defense pgd_at --attacks square_l2,uniform_noise \\
      --steps-grid 1,10 --lr-grid 0.02,0.1 --max-clean-drop 2 --limit 100
  python -m benchmark run --defense pgd_at --tuned results/tuned/digits-small_cnn.json

\b
Exit code: 0 chosen, 1 nothing could be chosen or cells failed, 2 wrong use.
"""


def tune(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    defense: Annotated[str | None, typer.Option(help="As in `run`. [those of the suite]")] = None,
    attacks: Annotated[
        str | None, typer.Option(help="Validation attacks. [the suite's, or square and square_l2]")
    ] = None,
    methods: Annotated[str, typer.Option(help="Adaptation methods to try.")] = "finetune,head,norm",
    steps_grid: Annotated[str, typer.Option(help="Inner steps to try.")] = "1,5,10,20",
    lr_grid: Annotated[str, typer.Option(help="Learning rates to try.")] = "0.005,0.02,0.1",
    max_clean_drop: Annotated[
        float, typer.Option(help="Points that clean accuracy may fall by at every K.")
    ] = 1.0,
    shots: Annotated[str, typer.Option(help="K, or several: then their mean counts.")] = "10",
    episodes: Annotated[int, typer.Option(help="Draws of the support per cell.")] = 3,
    seeds: Annotated[str | None, typer.Option(help="Training seeds. [0]")] = None,
    knowledge: Annotated[str, typer.Option(help="As in `run`.")] = "captured",
    suite: Annotated[str, typer.Option(help="Whose data set and validation attacks.")] = "main",
    dataset: Annotated[str | None, typer.Option(help="As in `run`.")] = None,
    network: Network = None,
    limit: Annotated[int | None, typer.Option(help="Score so many validation images only.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where to write. [RESULTS/tuned/DATASET-NETWORK.json]")
    ] = None,
    data_dir: DataDir = None,
    download: Download = False,
    results: Results = Path("results"),
    device: Device = "auto",
    jobs: Annotated[int | None, typer.Option(help="Processes, as in `run`.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Choose method, steps and learning rate of adaptation by robust@K, attacked again."""
    with importing():
        from benchmark.artifacts.settings import RunSettings
        from benchmark.cli import tuning

    steps = grid("--steps-grid", steps_grid)
    if any(value != int(value) for value in steps):
        raise UsageError(f"--steps-grid: expected whole numbers, got {steps_grid!r}")
    if not 0 <= max_clean_drop <= 100:
        raise UsageError(f"--max-clean-drop: expected points from 0 to 100, got {max_clean_drop:g}")
    values = {
        "defenses": defense, "attacks": attacks, "dataset": dataset, "network": network,
        "shots": numbers("--shots", shots), "seeds": numbers("--seeds", seeds),
        "episodes": episodes, "limit": limit, "knowledge": words("--knowledge", knowledge),
        "methods": words("--methods", methods),
    }  # fmt: skip
    settings = RunSettings(
        results=results, data_dir=data_dir, download=download, device=device, jobs=jobs
    )
    tried = tuning.Grid(list(map(int, steps)), grid("--lr-grid", lr_grid), max_clean_drop / 100)
    raise typer.Exit(
        tuning.tune(values, tried, suite, settings, out, quiet=quiet, json=json, dry_run=dry_run)
    )
