"""Files of each defense for other places: a JSON line for each sample, and those of the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from benchmark.results.store import atomic_path, slug
from reports.summary.hub import eval_results, model_card
from reports.tidy.frame import rows

Verdict = Literal["wrong", "broken", "robust"]
Labels = Mapping[str, Sequence[int]]
"""By the hash of test images."""


class Predicted(NamedTuple):
    """Classes that a trained model says of the first test images."""

    before: Sequence[int]
    """As they are."""
    after: Sequence[int] | None
    """Of the examples crafted against it; None where they are not kept."""


Predictions = Mapping[tuple[str, str, str], Predicted]
"""By the hash of test images, that of the weights, and the attack."""


class Sample(BaseModel):
    """One image under one attack. Records hold verdicts; classes are asked of the model again."""

    model_config = ConfigDict(extra="forbid")

    id: int = Field(description="Place of the image among the test images, from 0.")
    query: str = Field(description="Hash of the test images; where it is equal, ids are too.")
    label: int | None = Field(description="Its class; null where the data set was not at hand.")
    dataset: str
    network: str
    defense: str
    seed: int = Field(description="Of training.")
    attack: str
    shots: int = Field(description="K, images of each class that the model adapted to.")
    adaptation: str = Field(description="How it adapted: method, and what it was shown.")
    shown: str = Field(description="Attacks it adapted to, where they are not the scored one.")
    episode: int = Field(description="Which draw of those images.")
    right_before: bool = Field(description="Whether it is classified right without an attack.")
    right_after: bool = Field(
        description="Whether it is under the attack, crafted before and after the model adapted."
    )
    prediction_before: int | None = Field(
        description="The class the trained model says without an attack; null where it adapted, or "
        "was not at hand."
    )
    prediction_after: int | None = Field(
        description="The same under the attack; null also where examples were not kept."
    )
    verdict: Verdict = Field(
        description="wrong: before any attack; broken: by the attack; robust: by neither."
    )


def samples(frame: pd.DataFrame, labels: Labels, predictions: Predictions) -> Iterator[Sample]:
    """Every image of every finished cell of a tidy frame, with what is known of it."""
    for row in rows(frame[frame["status"] == "done"]):
        known = labels.get(row.query)
        said = None if row.adapts else predictions.get((row.query, row.weights, row.attack))
        for episode, (before, after) in enumerate(
            zip(row.verdicts.clean.tolist(), row.verdicts.robust.tolist(), strict=True)
        ):
            for place, (right, stands) in enumerate(zip(before, after, strict=True)):
                yield Sample(
                    id=place, query=row.query, label=None if known is None else known[place],
                    dataset=row.dataset, network=row.network, defense=row.defense, seed=row.seed,
                    attack=row.attack, shots=row.shots, adaptation=f"{row.method}, {row.knowledge}",
                    shown=row.shown or "", episode=episode, right_before=right,
                    right_after=stands,
                    prediction_before=said.before[place] if said else None,
                    prediction_after=said.after[place] if said and said.after else None,
                    verdict=_verdict(right, stands),
                )  # fmt: skip


def _verdict(right: bool, stands: bool) -> Verdict:
    return "robust" if stands else "broken" if right else "wrong"


def write_shared(
    frame: pd.DataFrame, out: Path, labels: Callable[[str], Labels],
    predictions: Predictions = MappingProxyType({}),
) -> list[Path]:  # fmt: skip
    """Write `DEFENSE/.eval_results/reattack.yaml`, `DEFENSE/model_card.md`, `samples.jsonl`.

    Args:
        frame: the tidy frame.
        out: a folder, made if need be.
        labels: of a data set, by the hash of its test images; none where it is not at hand.
        predictions: of the models that are at hand.

    Raises:
        UsageError: `out` cannot be written.
    """
    written: list[Path] = []
    for defense, part in frame.groupby("defense", sort=False):
        folder = out / slug(str(defense))
        known: dict[str, Sequence[int]] = {}
        for dataset in dict.fromkeys(part["dataset"]):
            known |= labels(dataset)
        lines = (
            f"{sample.model_dump_json()}\n" for sample in samples(part, known, predictions or {})
        )
        texts = {
            folder / ".eval_results" / "reattack.yaml": eval_results(part),
            folder / "model_card.md": model_card(part),
            folder / "samples.jsonl": "".join(lines),
        }
        for path, text in texts.items():
            with atomic_path(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        written += texts
    return written
