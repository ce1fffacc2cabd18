"""Records -> one tidy pandas table, a row per cell. Missing is null, never 0."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.core.schema import Effort
from benchmark.results.audits import Audit
from benchmark.results.records import Record, Scored
from benchmark.results.store import Loaded, read_records
from reports.archive import audited
from reports.archive.audited import audits_of, flagged, matched, told
from reports.archive.shareable import shareable
from reports.archive.trust import doubts, options
from reports.statistics.scores import QUANTITIES, Measured, Tables, measure, quantities

COLUMNS = (
    "dataset", "network", "defense", "seed", "attack", "family", "threat", "origin",
    "unseen", "method", "knowledge", "shots", "steps", "episodes", "status", "reason", "n", "clean",
    "static", "reattacked", "robust", "robust_interval", "inflation", "gain", "moved", "seconds",
    "shown",
)  # fmt: skip
"""The columns of `--json`, in order: accuracies in [0, 1], `robust_interval` a (low, high).

`shown`: the attacks adapted to where they are not the scored one, joined by " > "; else empty.
"""
THEN = " > "
NOT_AUDITED = audited.NOT

FURTHER = (
    "robust_before", "robust_before_interval", "clean_before", "clean_before_interval",
    "clean_interval", "static_interval", "reattacked_interval", "inflation_interval",
    "gain_interval", "norm", "query", "lr", "adapts", "forwards", "backwards", "flags",
    "trained_on", "training_passes", "training_images", "training_updates", "training_seconds",
    "adaptation_passes", "adaptation_images", "loss_fell", "families_shown", "options", "weights",
    "unseen_by_name", "positive", "positives", "robust_rule", "robust_rule_interval", "verdicts",
    "audit", "about",
)  # fmt: skip
"""Then these; `verdicts` holds `scores.Tables` (or None) and stays in memory, and so does
`positives`: of two classes, which images are of the class `positive`. What adaptation took is the
mean over episodes; `options` are the attack's, as JSON; `weights` is the model's hash; `audit` is
the verdict on the model, whose flags are among `flags`; `about` is what the defense says of
itself, for display."""

_NULLABLE = {"n": "Int64", "unseen": "boolean", "unseen_by_name": "boolean"}


def load(directory: Path | str) -> pd.DataFrame:
    """The tidy table of all readable records below a results folder.

    Raises:
        UsageError: there is no record, or none that can be read.
    """
    return from_records(read(directory).records, audits=audits_of(Path(directory)))


def read(directory: Path | str) -> Loaded:
    """The records below a results folder and the files that are none; UsageError if all are."""
    loaded = read_records(Path(directory))
    if not loaded.records:
        unreadable = f", {len(loaded.problems)} unreadable files" if loaded.problems else ""
        first = f" (first: {loaded.problems[0]})" if loaded.problems else ""
        raise UsageError(
            f"expected records below {directory}, got none{unreadable}{first}; "
            "run `python -m benchmark run --results DIR` first, or give its folder"
        )
    return loaded


def from_records(
    records: Iterable[Record], split: Scored = "test", here: bool = False,
    audits: Iterable[Audit] = (),
) -> pd.DataFrame:  # fmt: skip
    """One row per record, in order; columns COLUMNS then FURTHER, also when there are none.

    Records of the other split are left out: what was scored on validation images chose settings.
    `here`: nobody else looks (see `reports.archive.shareable.names`). `audits`: those that may be
    of the models of these records.
    """
    records = [record for record in records if record.cell.split == split]
    found = matched(records, audits)
    records = shareable([*map(flagged, records, found)], here)
    verdicts = [unpacked(record) for record in records]
    rows = [
        _facts(record) | measured | {"verdicts": tables, "audit": str(audit or NOT_AUDITED)}
        for record, measured, tables, audit in zip(
            records, _measured(records, verdicts), verdicts, found, strict=True
        )
    ]
    columns = {name: [row.get(name) for row in rows] for name in (*COLUMNS, *FURTHER)}
    return pd.DataFrame(
        {name: pd.Series(values, dtype=_dtype(name)) for name, values in columns.items()}
    )


def _dtype(column: str) -> Any:
    if column in QUANTITIES or column.startswith(
        ("moved", "seconds", "lr", "loss_", "adaptation_")
    ):
        return "float64"
    if column in ("seed", "shots", "steps", "episodes", "forwards", "backwards"):
        return "int64"
    if column == "training_seconds":
        return "float64"
    if column.startswith("training_"):
        return "Int64"
    return "bool" if column == "adapts" else _NULLABLE.get(column, "object")


def _facts(record: Record) -> dict[str, Any]:
    cell, budget, outcome = record.cell, record.cell.budget, record.outcome
    return {
        **{name: getattr(cell, name) for name in ("dataset", "network", "defense", "seed")},
        **{name: getattr(cell, name) for name in ("attack", "episodes")},
        **{name: getattr(record, name) for name in ("family", "threat", "origin", "unseen")},
        **{name: getattr(record, name) for name in ("status", "reason", "norm", "query")},
        **{
            name: getattr(record, name)
            for name in ("trained_on", "families_shown", "unseen_by_name")
        },
        "options": options(record),
        "weights": record.fingerprint.get("weights", ""),
        "flags": [*record.all_flags, *doubts(record)],
        **{name: getattr(budget, name) for name in ("method", "knowledge", "shots", "steps", "lr")},
        **{name: getattr(record.cost, name) for name in ("seconds", "forwards", "backwards")},
        "adapts": budget.adapts,
        "shown": THEN.join(cell.shown),
        "about": record.provenance.about,
        "positive": record.positive,
        "positives": record.positives.unpack()[0] if record.positives else None,
        "n": outcome.before.n if outcome else None,
        "moved": float(np.mean(outcome.moved)) if outcome and outcome.moved else None,
        "loss_fell": outcome.integrity.loss_fell if outcome and outcome.integrity else None,
        **_efforts("training", [record.training] if record.training else []),
        **_efforts("adaptation", outcome.adaptation if outcome else []),
    }


def _efforts(kind: str, efforts: Sequence[Effort]) -> dict[str, Any]:
    """Columns `training_passes` and so on, the mean over `efforts`; nothing where there is none."""
    kinds = ("passes", "images", "updates", "seconds") if efforts else ()
    return {f"{kind}_{name}": np.mean([getattr(one, name) for one in efforts]) for name in kinds}


def unpacked(record: Record) -> Tables | None:
    """The verdicts, or None; where nothing adapts, all robust ones are robust@0."""
    outcome = record.outcome
    if outcome is None:
        return None
    clean_before, before = outcome.clean_before.unpack(), outcome.before.unpack()
    if not record.cell.budget.adapts:
        return Tables(clean_before, before, clean_before, before, before)
    adapted = (outcome.clean, outcome.static, outcome.reattacked)
    rule = outcome.rule.unpack() if outcome.rule else None
    made = Tables(clean_before, before, *(table.unpack() for table in adapted))
    return made._replace(rule=rule)


def _measured(records: Sequence[Record], verdicts: Sequence[Tables | None]) -> list[dict[str, Any]]:
    """Each quantity and its interval, in two columns; nothing where there is no verdict."""
    scored = [tables for tables in verdicts if tables is not None]
    adapts = [record.cell.budget.adapts for record in records if record.outcome is not None]
    numbers = iter(measure([quantities(tables) for tables in scored], adapts))
    return [{} if tables is None else columns(next(numbers)) for tables in verdicts]


def columns(measured: dict[str, Measured]) -> dict[str, Any]:
    """Spread measurements over columns: `robust` and `robust_interval`, and so on."""
    values = {name: number.value for name, number in measured.items()}
    return values | {f"{name}_interval": number.interval for name, number in measured.items()}


def rows(frame: pd.DataFrame) -> list[Any]:
    """The rows as named tuples: `row.defense`, `row.robust` and so on.

    As `itertuples` gives them; many small tables have the same columns, and it makes a class anew
    for each.
    """
    kind = _row(tuple(frame.columns))
    return list(map(kind._make, zip(*(frame[name].tolist() for name in frame), strict=True)))


@lru_cache(maxsize=64)
def _row(names: tuple[str, ...]) -> Any:
    return namedtuple("Row", names, rename=True)


def audits(frame: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """Data set, network and defense of each row of models, and what their audits say."""
    key = ["dataset", "network", "defense"]
    return [
        (str(dataset), str(network), str(defense), told(part["audit"]))
        for (dataset, network, defense), part in frame.groupby(key, sort=False)
    ]


def to_json_cells(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The cells of `--json`: exactly COLUMNS, plain Python values, None where there is none."""
    plain = {name: [_plain(value) for value in frame[name].tolist()] for name in COLUMNS}
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [float(end) for end in value]
    return None if pd.isna(value) else value
