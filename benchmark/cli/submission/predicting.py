"""`share --model`: the classes a model says, which records do not hold, asked of it again.

Of the trained model alone: as images are, and of the stored examples that are in the cache. Adapted
models are not kept, and neither is what was crafted against them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attacks.build import build_attack, strengths_of
from baselines.build import build_defense
from benchmark.artifacts.examples import key_of
from benchmark.artifacts.settings import ProgressListener, RunSettings
from benchmark.cli import launch
from benchmark.cli.submission.verifying import plan_of
from benchmark.core.errors import UsageError
from benchmark.evaluation.batch_size import pieces
from benchmark.evaluation.verdicts import Meter
from benchmark.execution.loading import InputLoader, trained_name
from benchmark.protocol.inputs import Inputs
from benchmark.results.records import Cell, Record
from benchmark.results.store import read_records
from reports.summary.share import Predicted, Predictions
from reports.tidy.escape import visible


def predictions(model: str, network: str | None, settings: RunSettings) -> Predictions:
    """Of every record of a model in a results folder in which nothing adapts.

    Args:
        model: as `run --defense` takes it; what is not trained yet is trained first.
        network: where it is not one of ours, as `run --network` takes it.
        settings: where results, data and examples are.

    Raises:
        UsageError: the folder holds no record of it.
    """
    name, _ = build_defense(model)
    groups: defaultdict[object, list[Record]] = defaultdict(list)
    for one in read_records(settings.results).records:
        if one.cell.defense == name and _may_be_asked(one):
            groups[trained_name(one.cell)].append(one)
    found = {
        key: said
        for records in groups.values()
        for key, said in _of_one(records, model, network, settings).items()
    }
    if not found:
        raise UsageError(
            f"--model {visible(name)}: {visible(str(settings.results))} holds no record of these "
            "weights that can be asked; give the model as `run --defense` was given it"
        )
    return found


def _may_be_asked(record: Record) -> bool:
    cell = record.cell
    if record.outcome is None or cell.budget.adapts or cell.split != "test":
        return False
    try:
        build_attack(cell.attack, strengths_of(cell.dataset))
    except UsageError:  # an attack of the user's, whose file nobody named
        return False
    return True


def _of_one(
    records: Sequence[Record], model: str, network: str | None, settings: RunSettings
) -> dict[tuple[str, str, str], Predicted]:
    plan, made_of = plan_of({"": [*records]}, model, network, settings)
    settings = launch.prepare(plan, launch.check(settings, "share"))
    loader = InputLoader(plan.attacks, plan.defenses, settings, ProgressListener())
    found = {}
    for one in records:
        inputs = loader.inputs(made_of[one.cell])
        weights = one.fingerprint.get("weights", "")
        if inputs.trained.hash == weights and inputs.data.test.hash == one.query:
            found[one.query, weights, one.cell.attack] = _asked(made_of[one.cell], inputs)
    return found


def _asked(cell: Cell, inputs: Inputs) -> Predicted:
    network, query = inputs.trained.network, inputs.query(cell.limit)
    kept = _kept(cell, inputs)
    after = None if kept is None else classes(network, kept)
    return Predicted(classes(network, query.images), after)


def _kept(cell: Cell, inputs: Inputs) -> Tensor | None:
    """The stored examples of a cell, audited again; None where they are not in the cache."""
    request, cache = inputs.static_request(cell), inputs.examples.cache
    if cache is None or not inputs.examples.keeps(request):
        return None
    if not all(cache.has(key_of(piece)) for piece in request.pieces):
        return None
    return inputs.static(cell, Meter()).images


def classes(network: nn.Module, images: Tensor) -> list[int]:
    """The most likely class of each image."""
    with torch.no_grad():
        return [
            said for rows in pieces(images) for said in network(images[rows]).argmax(dim=1).tolist()
        ]
