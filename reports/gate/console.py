"""What the gate says, and what it can see, on a terminal."""

from __future__ import annotations

import re

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from reports.gate.judge import Judgement, Rules
from reports.gate.outputs import (
    HEAD,
    TableLine,
    counted,
    reasons,
    rules_in_words,
    table_rows,
    worth_showing,
)
from reports.gate.power import DROPS, IMAGES, PULLS
from reports.tidy.escape import visible
from reports.tidy.verdicts import WIDEST

STYLES = {"REGRESSED": "bold red", "MISSING": "bold red", "improved": "green"}
AT_MOST = 60
"""Lines of the table; JUnit and the summary have them all."""


def print_judgement(judgement: Judgement, console: Console) -> None:
    """Print what changed, the reasons of what is red, and how many cells there are of each kind."""
    shown = worth_showing(judgement)
    if shown:
        console.print(_grid(table_rows(shown[:AT_MOST])))
    for line in reasons(judgement)[:AT_MOST]:
        console.print(Text(_no_command(line)), soft_wrap=True)
    if len(shown) > AT_MOST:
        console.print(Text(f"... and {len(shown) - AT_MOST} more; --junit FILE has them all"))
    console.print(Text(rules_in_words(judgement), style="dim"))
    console.print(Text(counted(judgement), style="bold"))


def _grid(rows: list[TableLine]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in HEAD:
        grid.add_column(name, justify="left" if name in ("cell", "verdict") else "right",
                        no_wrap=name != "cell", overflow="fold")  # fmt: skip
    for row in rows:
        cells = [Text(_no_command(visible(text, WIDEST))) for text in row]
        cells[-1].stylize(STYLES.get(row.verdict, ""))
        grid.add_row(*cells)
    return grid


def _no_command(text: str) -> str:
    """What GitHub does not take for one: a line that begins with `::`, as a folded name may.

    >>> _no_command("::error::x")
    ': :error: :x'
    """
    return re.sub(":(?=:)", ": ", text)


def print_power(table: pd.DataFrame, rules: Rules, console: Console) -> None:
    """Print it for people, in percent."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    heads = ["attacks", "verdicts\nchanged", "images"]
    drops = ["no drop", *(f"-{drop}" for drop in DROPS[1:])]
    for head in (*heads, *drops):
        grid.add_column(head, justify="right")
    for index, row in table.iterrows():
        if index and row["n"] == IMAGES[0]:
            grid.add_section()
        shares = ["" if pd.isna(row[str(d)]) else f"{100 * row[str(d)]:.1f}" for d in DROPS]
        first = f"{row['attacks']:.0f}", f"{row['changed']:g} %", f"{row['n']:,.0f}"
        grid.add_row(*first, *shares)
    console.print(grid)
    console.print(
        f"Percent of {PULLS:,} simulated pull requests that are red, by the points that one attack "
        f"truly loses; tolerance {rules.tolerance:g} points, p < {rules.alpha:g} after Holm. Under "
        "`no drop` they are false alarms. One episode; more episodes on the same images see more.",
        style="dim",
    )
