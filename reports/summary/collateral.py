"""Of summary.md: attacks that were not the ones shown, and attacks one after another."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from reports.statistics.continual import METRICS
from reports.statistics.intervals import Interval
from reports.tidy.escape import markdown
from reports.tidy.format import markdown_table, percent
from reports.tidy.frame import THEN, rows
from reports.tidy.rows import Key
from reports.tidy.sequences import Collateral, collateral

METRIC_WORDS = """\
After the last arrival, over the attacks that arrived. average: mean accuracy; union: right under
all of them, per image; forgetting: mean loss since the best earlier stage; backward transfer: mean
change since an attack arrived; forward transfer: mean change from the trained model to the stage
before an attack arrived; clean drift: change of clean accuracy.
"""


def shown_sections(changed: pd.DataFrame, staged: pd.DataFrame) -> Iterator[str]:
    """The two sections, from `arrivals.changes` and `arrivals.stages` with `adaptation`."""
    if len(changed):
        yield "## Collateral: one attack shown, others scored\n"
        yield "Change of robust@K - robust@0 in points; every pair is in collateral.csv.\n"
        yield _collateral(changed)
    if len(staged):
        yield "## Sequences: attacks that arrive one after another\n"
        yield METRIC_WORDS
        by = [*Key._fields, "adaptation", "sequence"]
        for _, part in staged.groupby(by, sort=False):
            yield from _sequence(part)


def changed_others(found: Collateral | None) -> str:
    """`-1.2, worst -6.0`; empty where nothing is known."""
    if found is None:
        return ""
    return f"{percent(found.mean, signed=True)}, worst {percent(found.worst, signed=True)}"


def _collateral(changed: pd.DataFrame) -> str:
    """A line for each attack shown: what it did to itself, to the others, and to which most."""
    harm = collateral(changed, by_shown=True)
    head = ("defense", "adaptation", "K", "shown", "itself", "others, mean", "others, worst", "on")
    body = []
    for row in rows(changed.drop_duplicates([*Key._fields, "shown"])):
        found = harm.get((Key(*row[: len(Key._fields)]), row.shown))
        if found is not None:
            own = changed[_same(changed, row) & (changed["attack"] == row.shown)]
            itself = "".join(_change(one) for one in rows(own))
            others = percent(found.mean, signed=True), percent(found.worst, signed=True)
            names = markdown(row.defense), row.adaptation, str(row.shots), markdown(row.shown)
            body.append((*names, itself, *others, markdown(found.attack)))
    return markdown_table(head, body, left=4)


def _same(changed: pd.DataFrame, row: Any) -> pd.Series:
    found: pd.Series = changed["shown"] == row.shown
    for name in Key._fields:
        found &= changed[name] == getattr(row, name)
    return found


def _change(row: Any) -> str:
    return percent(row.change, Interval(row.change_low, row.change_high), signed=True)


def _sequence(part: pd.DataFrame) -> Iterator[str]:
    """What is measured down, stages across; then the metrics."""
    first, last = part.iloc[0], part["stage"].max()
    yield f"### {markdown(first.defense)}, K = {first.shots}, {first.adaptation}\n"
    found = {(row.measure, row.stage): row for row in rows(part)}
    measures = [row.measure for row in rows(part[part["stage"] == 0])]
    arrivals = [markdown(name) for name in str(first.sequence).split(THEN)]
    body = [
        (markdown(name), *(_value(found[name, stage]) for stage in range(last + 1)))
        for name in measures
    ]
    yield markdown_table(("after", "nothing", *arrivals), body, left=1)
    names = [*METRICS, "clean drift"]
    metrics = [found[name, last] for name in names if (name, last) in found]
    values = [_value(row, signed=row.measure not in ("average", "union")) for row in metrics]
    yield markdown_table([row.measure for row in metrics], [values], left=0)


def _value(row: Any, signed: bool = False) -> str:
    return percent(row.value, Interval(row.low, row.high), signed=signed)
