"""Accuracy by class: records hold verdicts and no labels, so whoever has the data brings them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from reports.leaderboard.threats import ALL, threat_rows
from reports.statistics.scores import aggregate, measure
from reports.tidy.frame import columns
from reports.tidy.rows import Key

Labels = Mapping[str, Sequence[int]]
"""By the hash of the test images (`query` of a record), the class of each, in their order."""
COLUMNS = (*Key._fields, "label", "n", "clean", "robust_before", "static", "robust")


def by_class(frame: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """A line for each complete row over all attacks and each class of its images.

    Columns COLUMNS, the numbers as in `headline` over the images of the class alone and each with
    its `..._interval`. Rows on images without labels have no lines.
    """
    entries, tables = [], []
    for part in threat_rows(frame) if labels else ():
        row = part.row
        known = labels.get(next(iter(row.scored.values())).query) if row.complete else None
        if part.threat != ALL or known is None:
            continue
        found = row.attacks()
        families = [row.families[name] for name in found]
        whole = aggregate(list(found.values()), families, "family mean")
        classes = np.asarray(known)[: whole["robust"].shape[-1]]
        for each in np.unique(classes):
            mine = classes == each
            entries.append(row.key._asdict() | {"label": int(each), "n": int(mine.sum())})
            tables.append({name: table[..., mine] for name, table in whole.items()})
    numbers = measure(tables, [entry["shots"] > 0 for entry in entries])
    rows: list[dict[str, Any]] = [
        entry | columns(measured) for entry, measured in zip(entries, numbers, strict=True)
    ]
    further = [f"{name}_interval" for name in COLUMNS[-4:]]
    return pd.DataFrame(rows, columns=[*COLUMNS, *further])
