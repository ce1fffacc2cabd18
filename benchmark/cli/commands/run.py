"""`run`: train defenses, attack them, adapt to a few attacked images, and attack again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.options import (
    LIMIT,
    Device,
    DryRun,
    Json,
    Results,
    importing,
    numbers,
    size_in_bytes,
    text_of,
    words,
)

EXAMPLES = """\b
Examples:
  python -m benchmark run --defense meta_adv --attacks all
  python -m benchmark run --defense standard,pgd_at --attacks 'pgd_*,square' --shots 0,10
  python -m benchmark run --defense mine.py:Net --attacks 'pgd_linf[eps=8/255,steps=100]' \\
      --dataset cifar10 --data-dir DIR --limit 1000
  python -m benchmark run --dataset folder:DIR --defense 'timm:resnet18[weights=w.pt]' \\
      --attacks fgsm,aa_linf --shots 0 --limit 200
  python -m benchmark run --defense pgd_at --attacks 'pgd_l*' --shown each --shots 0,10
  python -m benchmark run --defense multi_at --attacks rotation_translation \\
      --shots 10 --adapt 'amplify,amplify[representations=none]' --knowledge simulated
  python -m benchmark run --defense meta_adv --sequence fgsm,pgd_l2,square --shots 10
  python -m benchmark run --suite unseen --limit 100 --episodes 1
  python -m benchmark run --defense 'checkpoint[path=weights.pt]' --network lenet5 \\
      --dataset mnist --data-dir DIR --attacks autoattack --shots 0 --dry-run

\b
Exit code: 0 all done (or skipped with a reason), 1 some cells failed or
interrupted, 2 wrong use. With --debug, failed cells show their traceback.
"""


def run(  # noqa: PLR0913, PLR0917 (one argument for each flag of the command)
    defense: Annotated[
        str | None,
        typer.Option(
            help="Names, comma-separated; name[option=value]; path/to/file.py:NAME; "
            "torchvision:NAME, timm:NAME or hf:NAME."
        ),
    ] = None,
    attacks: Annotated[
        str | None,
        typer.Option(
            help="Names, wildcards, all, unseen, family:NAME, file.py:CLASS; options in brackets."
        ),
    ] = None,
    shown: Annotated[
        str | None,
        typer.Option(help="Attacks the defender sees: self (the scored one), each, or names."),
    ] = None,
    sequence: Annotated[
        str | None,
        typer.Option(help="Attacks that arrive one after another; all scored after each."),
    ] = None,
    suite: Annotated[
        str, typer.Option(help="Named request, or its TOML file, that fills what no flag says.")
    ] = "main",
    dataset: Annotated[
        str | None,
        typer.Option(
            help="See `list datasets`; or folder:DIR, npz:FILE, hf:NAME, file.py:NAME. [digits]"
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(help="See `list networks`; or torchvision:NAME, timm:NAME, file.py:CLASS."),
    ] = None,
    shots: Annotated[
        str | None, typer.Option(help="Shown images per class, e.g. 0,1,5,10.")
    ] = None,
    episodes: Annotated[int | None, typer.Option(help="Draws of the support per cell.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Training seeds, e.g. 0,1.")] = None,
    adapt: Annotated[
        str | None,
        typer.Option(
            help="Adaptation methods: none, finetune, trust, head, norm, learned, amplify; options "
            "in brackets."
        ),
    ] = None,
    adapt_steps: Annotated[
        int | None, typer.Option(help="Inner steps, instead of each method's own.")
    ] = None,
    adapt_lr: Annotated[
        float | None, typer.Option(help="Inner learning rate, instead of each method's own.")
    ] = None,
    tuned: Annotated[
        str | None, typer.Option(help="File of `tune`: how each defense adapts.")
    ] = None,
    knowledge: Annotated[
        str | None, typer.Option(help="What the defender has: captured, pairs, simulated, clean.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Score the first so many test images only.")
    ] = None,
    strengths: Annotated[
        Path | None, typer.Option(help="TOML of how strong attacks are, e.g. linf = { eps = 0.1 }.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where data sets are. [$REATTACK_DATA or ./data]")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the data set if it is not there.")
    ] = False,
    results: Results = Path("results"),
    cache: Annotated[
        Path | None, typer.Option(help="Folder of crafted examples. [`cache` in the results]")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep and read no crafted examples.")
    ] = False,
    cache_limit: Annotated[
        str, typer.Option(help="Least recently used examples go beyond that.")
    ] = LIMIT,
    device: Device = "auto",
    precision: Annotated[
        str,
        typer.Option(help="Of the passes attacks make: float32, or bfloat16 with float32 proof."),
    ] = "float32",
    reattack: Annotated[
        str,
        typer.Option(
            help="Attack again all images, or only those standing under stored examples: the same "
            "robust@K, sooner; all either way if the attack deals random numbers to a whole batch."
        ),
    ] = "all",
    verdicts: Annotated[
        str,
        typer.Option(
            help="all: of each attack on all images. union: within a family only on what cheaper "
            "attacks left standing; the same worst case of the family, sooner (--shots 0)."
        ),
    ] = "all",
    rule: Annotated[
        bool,
        typer.Option(
            "--rule",
            help="Attack adapted models also by who knows how they adapt, not to which images "
            "(robust_rule@K): with examples crafted on the models of the other draws.",
        ),
    ] = False,
    executor: Annotated[
        str, typer.Option(help="Where cells run: auto, here, processes or ray.")
    ] = "auto",
    jobs: Annotated[
        int | None, typer.Option(help="Processes. [as many as cores; 1 on a GPU]")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of a Ray that runs, or auto. [one of its own]")
    ] = None,
    gpus_per_task: Annotated[
        float | None, typer.Option(help="Share of a GPU for each task of Ray. [by image size]")
    ] = None,
    cell_time: Annotated[
        float | None, typer.Option(help="Seconds a cell may take; over them it is failed.")
    ] = None,
    cell_memory: Annotated[
        float | None, typer.Option(help="Gigabytes its process may hold; likewise.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(help="Threads of torch in each. [1 for tiny images, else a share]"),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress, no table; only what went wrong.")
    ] = False,
    json: Json = False,
    dry_run: DryRun = False,
) -> None:
    """Train defenses, attack them, adapt to a few attacked images, and attack again."""
    with importing():
        from benchmark.artifacts.settings import RunSettings
        from benchmark.cli import launch

    values = {
        "defenses": defense, "attacks": attacks, "dataset": dataset, "network": network,
        "shots": numbers("--shots", shots), "seeds": numbers("--seeds", seeds),
        "shown": shown, "sequence": sequence, "episodes": episodes, "limit": limit,
        "steps": adapt_steps, "lr": adapt_lr, "tuned": tuned,
        "methods": words("--adapt", adapt), "knowledge": words("--knowledge", knowledge),
    }  # fmt: skip
    settings = RunSettings.model_construct(  # what is wrong is said by `check`, by its flag
        results=results, data_dir=data_dir, download=download, device=device,
        cache=cache, no_cache=no_cache, cache_limit=size_in_bytes("--cache-limit", cache_limit),
        precision=precision, reattack=reattack, rule=rule, verdicts=verdicts,
        executor=executor, jobs=jobs, address=address,
        strengths=text_of("--strengths", strengths),
        gpus_per_task=gpus_per_task, threads=threads, cell_time=cell_time, cell_memory=cell_memory,
    )  # fmt: skip
    code = launch.run(values, suite, settings, quiet=quiet, json=json, dry_run=dry_run)
    raise typer.Exit(code)
