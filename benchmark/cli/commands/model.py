"""`train` and `export`: trained models by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import (
    DataDir,
    Device,
    Download,
    Json,
    Network,
    Results,
    Strengths,
    importing,
    numbers,
    text_of,
)

TRAIN_EXAMPLES = """\b
Examples:
  python -m benchmark train --defense pgd_at
  python -m benchmark train --defense 'pgd_at[recipe=mnist]' --dataset mnist --network medium_cnn
  python -m benchmark train --defense pgd_at,trades --dataset folder:DIR --seeds 0,1,2
  python -m benchmark list recipes

\b
What is trained is what `run` would train: it finds the model there, and scores it. Beside the
model lies a log, a row an epoch, for `pandas.read_csv`. A training that is killed goes on where
it was. Exit code: 0 trained, 1 some failed or interrupted, 2 wrong use.
"""
EXPORT_EXAMPLES = """\b
Examples:
  python -m benchmark export --defense pgd_at --out robust.safetensors
  python -m benchmark run --dataset digits --attacks aa_linf --shots 0 \\
      --defense 'checkpoint[path=robust.safetensors]'

\b
Writes the weights, and a card beside them (robust.json): data, network, options, seed, hashes,
and what the results folder holds of measured accuracies. What is not trained yet is trained
first. Exit code: 0 written, 1 its training failed or was interrupted, 2 wrong use.
"""
Defenses = Annotated[str, typer.Option("--defense", help="As in `run`.")]
Data = Annotated[str, typer.Option("--dataset", help="As in `run`.")]
Threads = Annotated[int | None, typer.Option("--threads", help="Of torch. [for the image size]")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress.")]


def train(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    defense: Defenses,
    dataset: Data = "digits",
    network: Network = None,
    seeds: Annotated[str, typer.Option(help="Training seeds, e.g. 0,1.")] = "0",
    strengths: Strengths = None,
    data_dir: DataDir = None,
    download: Download = False,
    results: Results = Path("results"),
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train defenses, without attacking them."""
    with importing():
        from benchmark.cli import training

    place = {
        "results": results, "data_dir": data_dir, "download": download, "device": device,
        "threads": threads, "strengths": text_of("--strengths", strengths),
    }  # fmt: skip
    found = numbers("--seeds", seeds)
    values = {"defenses": defense, "dataset": dataset, "network": network, "seeds": found}
    raise typer.Exit(training.train(values, place, quiet=quiet, json=json))


def export(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    defense: Defenses,
    out: Annotated[Path, typer.Option(help="The file of weights, NAME.safetensors.")],
    dataset: Data = "digits",
    network: Network = None,
    seed: Annotated[int, typer.Option(help="Training seed.")] = 0,
    strengths: Strengths = None,
    data_dir: DataDir = None,
    download: Download = False,
    results: Results = Path("results"),
    device: Device = "auto",
    threads: Threads = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the weights of a trained model, and a card that says what they are."""
    with importing():
        from benchmark.cli import training

    place = {
        "results": results, "data_dir": data_dir, "download": download, "device": device,
        "threads": threads, "strengths": text_of("--strengths", strengths),
    }  # fmt: skip
    values = {"defenses": defense, "dataset": dataset, "network": network, "seeds": [seed]}
    raise typer.Exit(training.export(values, place, out, quiet=quiet, json=json))
