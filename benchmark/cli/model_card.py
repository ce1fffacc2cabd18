"""A model for others: its weights as safetensors, and a card in JSON that says what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmark.artifacts.models import Model
from benchmark.core.errors import UsageError
from benchmark.core.types import Defense
from benchmark.data.splits import Dataset
from benchmark.identity import fingerprint
from benchmark.results.records import Cell
from benchmark.results.store import atomic_path, read_records
from benchmark.results.weights import write_weights
from reports.tidy.frame import from_records, to_json_cells

FIGURES = (
    "attack", "family", "threat", "unseen", "shots", "method", "steps", "lr", "knowledge",
    "episodes", "n", "clean", "robust", "robust_interval",
)  # fmt: skip
"""What the card says of each cell; accuracies in [0, 1], the interval of 95 %."""


def card_of(
    cell: Cell, defense: Defense, data: Dataset, model: Model, results: Path
) -> dict[str, Any]:
    """All that is known of a trained model, JSON-safe.

    Its figures are those that `results` holds of these very weights.
    """
    records = [
        record
        for record in read_records(results).records
        if record.fingerprint.get("weights") == model.hash and record.status == "done"
    ]
    rows = to_json_cells(from_records(records, here=True)) if records else []
    channels, height, width = data.shape
    return {
        "data": {
            "name": cell.dataset, "hash": data.hash, "source": data.source,
            "channels": channels, "height": height, "width": width, "classes": data.classes,
            "class_names": list(data.class_names),
        },
        "network": cell.network,
        "defense": cell.defense,
        "options": fingerprint.options_of_instance(defense),
        "seed": cell.seed,
        "trained_on": None if model.trained_on is None else sorted(model.trained_on),
        "training": model.cost.model_dump() if defense.trains else None,
        "hashes": {"weights": model.hash, "training": model.training},
        "versions": fingerprint.versions(),
        "commit": fingerprint.commit(),
        "flags": [*model.flags],
        "figures": [{name: row[name] for name in FIGURES if name in row} for row in rows],
        "input": "float32 images in [0, 1]; normalisation is inside the network",
    }  # fmt: skip


def write_exported(out: Path, model: Model, card: dict[str, Any]) -> None:
    """The weights to `out`, the card beside them: each is whole, or is not there.

    Raises:
        UsageError: the disk is full, or the folder cannot be written to.
    """
    if not model.network.state_dict():
        raise UsageError(f"{card['defense']} has no weights to export")
    write_weights(out, model.network.state_dict(), {"card": json.dumps(card)})
    with atomic_path(out.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2, allow_nan=False) + "\n", "utf-8")
