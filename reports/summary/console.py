"""The table that `run` prints at its end. Of reports, three files import rich."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from benchmark.results.records import BY_RULE
from reports.summary.two_classes import print_two_classes
from reports.tidy.aggregate import headline
from reports.tidy.escape import visible
from reports.tidy.format import adaptations, percent
from reports.tidy.frame import NOT_AUDITED, audits, rows
from reports.tidy.training_cost import KEY, in_short, training_costs
from reports.tidy.warnings import warnings

COLUMNS = {
    "defense": "defense", "adaptation": "adaptation", "shots": "K", "clean": "clean",
    "robust_before": "robust\n@0", "static": "static\n@K", "reattacked": "re-at-\ntacked",
    "robust": "robust@K\n(95%)", "robust_rule": "rule\n@K", "inflation": "infla-\ntion",
    "gain": "gain", "unseen": "unseen\n@K", "worst": "worst\ncase", "training": "training\npasses",
}  # fmt: skip
"""Heading of each column. Accuracies but `unseen`, `worst` go over all attacks, by family mean."""

DISPENSABLE = (
    "training",
    "robust_rule",
    "unseen",
    "worst",
    "reattacked",
    "gain",
    "clean",
    "robust_before",
)
"""Which columns a narrow terminal loses, first to last."""

RULE = "rule: under who knows how models adapt, not to which images"

DOUBTS = 4
"""How many findings are printed in full."""


def print_summary(frame: pd.DataFrame, console: Console) -> None:
    """Print the headline table of each data set and network, then what is missing or doubtful."""
    table = headline(frame)
    table = table.assign(adaptation=adaptations(table)).merge(training_costs(frame), on=KEY)
    for (dataset, network), part in table.groupby(["dataset", "network"], sort=False):
        lines = _lines(part)
        names = [name for name in COLUMNS if name != "adaptation" or len(set(lines[name])) > 2]
        if lines["robust_rule"].isna().all():  # nobody asked for it
            names.remove("robust_rule")
        console.print(Text(f"\n{visible(str(dataset))}, {visible(str(network))}", style="bold"))
        console.print(_fitting(lines, names, console))
    console.print(Text(_caption(table) + _ruled(frame), style="dim"))
    _print_audits(frame, console)
    print_two_classes(frame, console)
    _print_doubts(frame, console)


def _lines(part: pd.DataFrame) -> pd.DataFrame:
    """The lines over all attacks, with robust@K over unseen ones and in the worst case beside."""
    views = {key: view.reset_index(drop=True) for key, view in part.groupby(["scope", "over"])}
    key = ["defense", "adaptation", "shots"]
    unseen = views.get(("unseen", "family mean"), part.head(0))[[*key, "robust"]]
    whole = views["all", "family mean"]
    lines = whole.assign(worst=views["all", "union"]["robust"], training=whole["training_passes"])
    return lines.merge(unseen.rename(columns={"robust": "unseen"}), on=key, how="left")


def _fitting(lines: pd.DataFrame, names: list[str], console: Console) -> Table:
    """The table with as many columns as fit the console."""
    for dispensable in (*DISPENSABLE, None):
        grid = _grid(lines, names)
        width = Measurement.get(console, console.options.update(max_width=999), grid).maximum
        if width <= console.width:
            break
        names = [name for name in names if name != dispensable]
    return grid


def _grid(lines: pd.DataFrame, names: Iterable[str]) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        justify: Any = "left" if name in ("defense", "adaptation") else "right"
        style = {"robust": "bold", "inflation": "yellow"}.get(name, "")
        grid.add_column(COLUMNS[name], justify=justify, style=style, no_wrap=True)
    last: Any = None
    for row in rows(lines):
        if last is not None and row.defense != last.defense:
            grid.add_section()
        grid.add_row(*(Text(_cell(row, name, last)) for name in names))
        last = row
    return grid


def _cell(row: Any, name: str, last: Any) -> str:
    value = getattr(row, name)
    if name in ("defense", "adaptation"):
        repeated = last is not None and (row.defense, value) == (last.defense, getattr(last, name))
        return "" if repeated else visible(value, 24)
    if name == "shots":
        return str(value)
    if name == "training":
        return "" if last is not None and row.defense == last.defense else in_short(value)
    if row.shots == 0 and name in ("static", "reattacked", "robust_rule", "inflation", "gain"):
        return ""
    if name == "robust" and row.status != "done":
        return f"{row.scored}/{row.expected} cells"
    interval = row.robust_interval if name == "robust" else None
    return percent(value, interval, signed=name == "gain")


def _caption(table: pd.DataFrame) -> str:
    sizes = sorted({*table.loc[table["scope"] == "all", "n"].dropna()})
    ends = " to ".join(str(size) for size in dict.fromkeys(sizes[:1] + sizes[-1:]))
    ruled = sorted({*table.loc[table["scope"] == "all", "ruled"].dropna()})
    counts = " to ".join(str(count) for count in dict.fromkeys(ruled[:1] + ruled[-1:]))
    rule = f" {RULE}; over {counts} attacks with several draws." if ruled else ""
    return (
        "Percent correct over all attacks: mean over families of the worst attack in each"
        f"{f'; n = {ends}' if ends else ''}. robust: under both the stale and the new attack; "
        "inflation = static - robust; gain = robust@K - robust@0; unseen: over families not "
        f"trained on; worst case: per image.{rule}"
    )


def _ruled(frame: pd.DataFrame) -> str:
    """Which strengths are those of a rule, not of a table for the data set."""
    found = sorted({threat for threat in frame["threat"] if threat.endswith(BY_RULE)})
    return f" Strengths: {'; '.join(found)}." if found else ""


def _print_audits(frame: pd.DataFrame, console: Console) -> None:
    """What audits say of each model, if any of them was audited."""
    found = audits(frame)
    if not frame["audit"].eq(NOT_AUDITED).all():
        each = [f"{visible(name, 40)} {visible(verdict, 160)}" for *_, name, verdict in found]
        console.print(Text(f"Audit: {'; '.join(each)}"))


def _print_doubts(frame: pd.DataFrame, console: Console) -> None:
    """How many cells are missing and the first doubts; the inflation stands in the table."""
    counts = frame["status"].value_counts()
    holes = [f"{counts[status]} {status}" for status in ("failed", "skipped") if status in counts]
    if holes:
        console.print(Text(f"{', '.join(holes)} of {len(frame)} cells; reasons in summary.md"))
    doubts = [finding for finding in warnings(frame) if finding.kind != "inflation"]
    for finding in doubts[:DOUBTS]:
        line = f"{finding.kind}: {visible(finding.where, 120)}: {visible(finding.message, 240)}"
        console.print(Text(line, style="yellow"))
    if len(doubts) > DOUBTS:
        console.print(Text(f"{len(doubts) - DOUBTS} more doubts in summary.md", style="yellow"))
