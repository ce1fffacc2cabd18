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
from reports.summary.attack_lines import print_by_attack, with_what_is_there
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
    "training", "reattacked", "unseen", "worst", "gain", "robust_rule", "clean", "robust_before",
)  # fmt: skip
"""Which columns a narrow terminal loses, first to last: robust@K, static@K, inflation stay."""

MEANING = {
    "robust": "robust@K: under both the stale and the new attack",
    "robust_rule": "rule: under who knows how models adapt, not to which images",
    "inflation": "inflation = static - robust",
    "gain": "gain = robust@K - robust@0",
    "unseen": "unseen: over families not trained on",
    "worst": "worst case: per image",
}
"""What the footnote says of a column that is shown."""

DOUBTS = 4
"""How many findings are printed in full."""


def print_summary(frame: pd.DataFrame, console: Console) -> None:
    """Print the headline table of each data set and network, then what is missing or doubtful."""
    table = headline(frame)
    table = table.assign(adaptation=adaptations(table)).merge(training_costs(frame), on=KEY)
    table = with_what_is_there(table, frame)
    shown: dict[str, None] = {}
    for (dataset, network), part in table.groupby(["dataset", "network"], sort=False):
        lines = _lines(part)
        names = [name for name in COLUMNS if name != "adaptation" or len(set(lines[name])) > 2]
        names = _fitting(lines, names, console)
        shown |= dict.fromkeys(names)
        console.print(Text(f"\n{visible(str(dataset))}, {visible(str(network))}", style="bold"))
        console.print(_grid(lines, names))
        print_by_attack(frame, str(dataset), str(network), console)
    console.print(Text(_caption(table, shown) + _ruled(frame), style="dim"))
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


def _fitting(lines: pd.DataFrame, names: list[str], console: Console) -> list[str]:
    """The columns in which something stands, and of those as many as fit the console."""
    if not lines["shots"].any():  # robust@0 is robust@K
        names = [name for name in names if name != "robust_before"]
    names = [name for name in names if any(_cell(row, name, None) for row in rows(lines))]
    for dispensable in DISPENSABLE:
        grid = _grid(lines, names)
        width = Measurement.get(console, console.options.update(max_width=999), grid).maximum
        if width <= console.width:
            break
        names = [name for name in names if name != dispensable]
    return names


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
        return f"{percent(value)} of {row.scored}/{row.expected} cells".removeprefix(" of ")
    interval = row.robust_interval if name == "robust" else None
    return percent(value, interval, signed=name == "gain")


def _caption(table: pd.DataFrame, shown: Iterable[str]) -> str:
    whole = table[table["scope"] == "all"]
    n, ruled = _ends(whole["n"]), _ends(whole["ruled"])
    adapts = whole["shots"].any()
    meanings = [MEANING[name] for name in shown if name in MEANING and (adapts or name != "robust")]
    if ruled and "robust_rule" in shown:
        meanings.append(f"over {ruled} attacks with several draws")
    for row in rows(whole[whole["status"] != "done"].head(1)):
        some = f"of {row.scored}/{row.expected} cells"
        meanings.append(f'"{some}": over the attacks that are there for all, no score')
    return (
        "Percent correct over all attacks: mean over families of the worst attack in each"
        f"{f'; n = {n}' if n else ''}. {'; '.join(meanings)}{'.' if meanings else ''}"
    ).rstrip()


def _ends(numbers: pd.Series) -> str:
    """`397`, or `200 to 397`; empty where there is none."""
    sizes = sorted({*numbers.dropna()})
    return " to ".join(str(size) for size in dict.fromkeys(sizes[:1] + sizes[-1:]))


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
