"""Numbers, adaptations and tables as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from reports.statistics.intervals import Interval
from reports.tidy.frame import rows

_EN_DASH = "\u2013"


def percent(value: Any, ends: Interval | None = None, signed: bool = False) -> str:
    """`41.2`, `41.2 (38.0-44.1)` or `+3.1 (-0.2 to +5.9)`; empty where there is no value."""
    if pd.isna(value):
        return ""
    form = "{:+.1f}" if signed else "{:.1f}"
    number = form.format(100 * value)
    if ends is None:
        return number
    low, high = (form.format(100 * end) for end in ends)
    return f"{number} ({low}{' to ' if signed else _EN_DASH}{high})"


def adaptations(table: pd.DataFrame) -> list[str]:
    """For each line of `table`, how the model adapts; steps and rate only if they tell lines apart.

    "none" where it does not adapt.
    """
    fields = ("dataset", "network", "defense", "shots", "method", "knowledge")
    budgets = table[[*fields, "steps", "lr"]].drop_duplicates()
    alone = ~budgets.duplicated([*fields], keep=False).any()
    return [
        "none" if not row.shots
        else f"{row.method}, {row.knowledge}" if alone
        else f"{row.method}, {row.knowledge}, {row.steps} steps, lr {row.lr:g}"
        for row in rows(table)
    ]  # fmt: skip


def markdown_table(head: Sequence[str], body: Iterable[Sequence[str]], left: int) -> str:
    """A Markdown table whose first `left` columns are text; the cells are escaped already."""
    rule = ["---" if place < left else "--:" for place in range(len(head))]
    table = (head, rule, *body)
    return "".join(f"| {' | '.join(row)} |\n" for row in table)
