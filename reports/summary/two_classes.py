"""Of data with two classes: how many of each are right, clean and under attack.

Sensitivity is the share of images of the positive class that are right, specificity that of the
other. Under attack an image is right if it is under every attack of its row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.statistics.intervals import wilson
from reports.tidy.escape import markdown, visible
from reports.tidy.format import markdown_table, percent
from reports.tidy.frame import rows
from reports.tidy.rows import Key

COLUMNS = {
    "defense": "defense", "shots": "K", "attacks": "attacks", "clean_sensitivity": "clean\nsens.",
    "clean_specificity": "clean\nspec.", "sensitivity": "robust\nsensitivity",
    "specificity": "robust\nspecificity",
}  # fmt: skip
NUMBERS = ("clean_sensitivity", "clean_specificity", "sensitivity", "specificity")


def two_classes(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each defense and budget whose data has two classes; empty where none has.

    Columns: those of `Key`, `positive`, `attacks` (how many) and NUMBERS, each with a 95% interval
    over images (Wilson; of adapted models the mean over episodes counts as so many images).
    """
    done = frame[(frame["status"] == "done") & frame["positives"].notna()]
    found = []
    for key, cells in done.groupby([*Key._fields, "query"], sort=False):
        shapes = cells["verdicts"].map(lambda tables: tables.robust.shape)
        part = cells[shapes == shapes.mode()[0]]
        robust = np.stack([tables.robust for tables in part["verdicts"]]).all(axis=0)
        first = next(iter(rows(part)))
        tables = {"clean_": first.verdicts.clean, "": robust}
        found.append(
            dict(zip(Key._fields, key, strict=False))
            | {"positive": first.positive, "attacks": len(part)}
            | {name: value for prefix, table in tables.items()
               for name, value in _of_each(prefix, table, first.positives).items()}
        )  # fmt: skip
    return pd.DataFrame(found)


def _of_each(prefix: str, table: Any, positives: Any) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, some in (("sensitivity", positives), ("specificity", ~positives)):
        n, right = int(some.sum()), float(table[:, some].mean(axis=0).sum())
        told[f"{prefix}{name}"] = right / n if n else None
        told[f"{prefix}{name}_interval"] = wilson(right, n) if n else None
    return told


def section(frame: pd.DataFrame) -> Iterator[str]:
    """Of summary.md."""
    table = two_classes(frame)
    if not len(table):
        return
    yield "## Two classes\n"
    yield f"{_legend(table, markdown)}\n"
    heads = tuple(head.replace("\n", " ") for head in COLUMNS.values())
    yield markdown_table(
        heads, [(markdown(row.defense), *_cells(row)) for row in rows(table)], left=1
    )


def print_two_classes(frame: pd.DataFrame, console: Console) -> None:
    """The same after the table of a run, in 80 letters: intervals of robust numbers, below them."""
    table = two_classes(frame)
    if not len(table):
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, head in COLUMNS.items():
        grid.add_column(head, justify="left" if name == "defense" else "right", no_wrap=True)
    for row in rows(table):
        pairs = zip(list(COLUMNS)[1:], _cells(row), strict=True)
        grid.add_row(Text(visible(row.defense, 24)), *(_narrow(*pair) for pair in pairs))
    console.print(grid)
    console.print(Text(_legend(table, visible), style="dim"))


def _narrow(name: str, text: str) -> str:
    number, _, interval = text.partition(" ")
    return number if name.startswith("clean") else f"{number}\n{interval}".rstrip()


def _cells(row: Any) -> list[str]:
    numbers = [percent(getattr(row, name), getattr(row, f"{name}_interval")) for name in NUMBERS]
    return [str(row.shots), str(row.attacks), *numbers]


def _legend(table: pd.DataFrame, escape: Any) -> str:
    names = ", ".join(escape(str(name)) for name in dict.fromkeys(table["positive"]))
    return (
        f"Percent right of {names} (sensitivity) and of the other class (specificity); robust: "
        "under every attack of the row. 95% intervals over images."
    )
