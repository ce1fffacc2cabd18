"""The table of settings that `tune` tried."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from reports.statistics.intervals import Interval
from reports.tidy.escape import visible
from reports.tidy.format import percent

COLUMNS = ("defense", "method", "steps", "lr", "robust@K (95%)", "robust@0", "clean drop", "")


def table(tried: Iterable[Any], chosen: Collection[tuple[Any, ...]]) -> Table:
    """A row for each of `tried`, the most robust first within a defense.

    Args:
        tried: with the fields of `benchmark.cli.tuning.Trial`.
        chosen: (defense, method, steps, lr) of those to mark.
    """
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(COLUMNS):
        grid.add_column(name, justify="left" if number in (0, 1, 7) else "right", no_wrap=True)
    for one in sorted(tried, key=lambda one: (one.defense, -one.robust, one.clean_drop)):
        marked = (one.defense, one.method, one.steps, one.lr) in chosen
        grid.add_row(
            Text(visible(one.defense)), Text(visible(one.method)), str(one.steps), f"{one.lr:g}",
            percent(one.robust, Interval(*one.interval)), percent(one.before),
            percent(one.clean_drop, signed=True), "chosen" if marked else "",
            style="bold" if marked else "",
        )  # fmt: skip
    return grid
