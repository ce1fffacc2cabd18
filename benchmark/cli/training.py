"""Trained models by themselves: `train`, and `export` with a card that says what they are."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.artifacts.models import Model, model_file
from benchmark.artifacts.settings import RunSettings
from benchmark.cli import launch
from benchmark.cli.model_card import card_of, write_exported
from benchmark.core.errors import UsageError, describe
from benchmark.core.types import Defense
from benchmark.data.splits import Dataset
from benchmark.evaluation.verdicts import correct
from benchmark.execution.loading import InputLoader
from benchmark.execution.progress import ProgressBars, QuietProgress
from benchmark.plan.matrix import Plan, make_plan
from benchmark.plan.request import make_request, read_suite
from benchmark.results.records import Cell

IMAGES = 1000
"""Validation images on which a trained model is looked at."""


class Finished(NamedTuple):
    """A trained model and what it is of."""

    cell: Cell
    defense: Defense
    data: Dataset
    model: Model
    file: Path | None
    """Where the results folder keeps it; None for a model that was brought along."""
    device: str


def train(values: Mapping[str, Any], place: Mapping[str, Any], *, quiet: bool, json: bool) -> int:
    """Train what is not trained yet; the exit code.

    Args:
        values: defenses, data set, network and seeds, by field of a `Request`.
        place: fields of `RunSettings`.
        quiet: no progress and no lines.
        json: what is known of each model, as JSON.
    """
    lines: list[dict[str, Any]] = []
    with ending() as wrong:
        for found in trained(*planned(values, place), quiet, wrong):
            lines.append(told(found))
            if not (quiet or json):
                print(in_words(lines[-1]), flush=True)
    if json:
        print(json_module.dumps({"models": lines}, allow_nan=False))
    return int(bool(wrong))


def export(
    values: Mapping[str, Any], place: Mapping[str, Any], out: Path, *, quiet: bool, json: bool
) -> int:
    """Write one trained model and its card; the exit code."""
    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: expected a name that ends in .safetensors")
    plan, settings = planned(values, place)
    if len(plan.cells) != 1:
        raise UsageError(f"expected one defense to export, got {len(plan.cells)}")
    with ending() as wrong:
        for found in trained(plan, settings, quiet, wrong):
            card = card_of(found.cell, found.defense, found.data, found.model, settings.results)
            write_exported(out, found.model, card)
            if json:
                print(json_module.dumps(card, allow_nan=False))
            elif not quiet:
                print(f"{out}\n{out.with_suffix('.json')}: {len(card['figures'])} figures")
    return int(bool(wrong))


def planned(values: Mapping[str, Any], place: Mapping[str, Any]) -> tuple[Plan, RunSettings]:
    """A plan of one cell for each model, and the settings that go with it."""
    settings = launch.check(RunSettings(**place))
    asked = make_request({**values, "attacks": "fgsm", "shots": [0]})
    with redirect_stdout(sys.stderr):
        plan = make_plan(asked, read_suite("main"), settings.strengths)
    return plan, launch.prepare(plan, settings)


def trained(plan: Plan, settings: RunSettings, quiet: bool, wrong: list[str]) -> Iterator[Finished]:
    """The models, one after another: each is trained, or read from the results folder.

    One that cannot be is said, and is one more line of `wrong`; the others go on.
    """
    progress = QuietProgress() if quiet else ProgressBars(plan, launch.console())
    with progress as listener:
        loader = InputLoader(plan.attacks, plan.defenses, settings, listener)
        for cell in plan.cells:
            try:
                with redirect_stdout(sys.stderr):
                    model, (data, _) = loader.model(cell), loader.data(cell)
            except UsageError:
                raise
            except Exception as error:
                wrong.append(f"failed: {cell.defense}, seed {cell.seed}: {describe(error)}")
                listener.note(wrong[-1])
                continue
            file = model_file(settings.results, cell, model.training)
            kept = file if file.is_file() else None
            yield Finished(cell, plan.defenses[cell.defense], data, model, kept, settings.device)


def told(found: Finished) -> dict[str, Any]:
    """What `train` says of a model; seconds are those of training, whenever that was."""
    cell, model = found.cell, found.model
    shown = found.data.validation.first(IMAGES).batch()
    right = correct(model.network, shown.to(found.device)).float().mean()
    return {
        "defense": cell.defense, "dataset": cell.dataset, "network": cell.network,
        "seed": cell.seed, "seconds": model.cost.seconds, "passes": model.cost.passes,
        "validation_accuracy": float(right), "validation_images": len(shown.labels),
        "probes": dict(model.probes), "file": found.file and str(found.file),
    }  # fmt: skip


def in_words(line: Mapping[str, Any]) -> str:
    """The same in two lines."""
    name = f"{line['defense']} on {line['dataset']}, {line['network']}, seed {line['seed']}"
    n, right = line["validation_images"], line["validation_accuracy"]
    took = f"trained for {line['seconds']:.0f} s" if line["file"] else "brought along"
    where = f"\n  {line['file']}" if line["file"] else ""
    return f"{name}: {right:.1%} of {n} validation images right, {took}{where}"


@contextmanager
def ending() -> Iterator[list[str]]:
    """Gives a list for lines on what went wrong; Ctrl-C ends what is inside, and is one of them."""
    wrong: list[str] = []
    try:
        yield wrong
    except KeyboardInterrupt:
        wrong.append("interrupted: run the same command again to go on")
        print(wrong[-1], file=sys.stderr)
