"""What stands in the cells of a leaderboard's tables: columns, texts, values to sort by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from benchmark.core.errors import unknown
from reports.archive.audited import NOT, ORDER, told
from reports.statistics.intervals import Interval
from reports.tidy.escape import visible
from reports.tidy.format import percent
from reports.tidy.training_cost import in_short

NONE = "\N{EN DASH}"
NAMED = 8
SPAN = 0.2
"""The least that the height of a small curve stands for: noise is not drawn as a slope."""


class Column(NamedTuple):
    """A column; `shots` is None where it belongs to every K."""

    name: str
    label: str
    shots: int | None
    help: str

    @property
    def key(self) -> str:
        """By what it is chosen; robust@0 beside other K is a column of its own."""
        return "before" if self.name == "robust" and self.shots is None else self.name

    @property
    def numeric(self) -> bool:
        """Whether larger values come first on the first click."""
        return self.name not in ("defense", "network", "rank")


class Track(NamedTuple):
    """Positions in percent on a line from 0 to 100: an interval, its value, the stale value."""

    low: str
    high: str
    at: str
    static: str | None


class Spark(NamedTuple):
    """robust@K and static@K over K, evenly spaced, as corners `x,y` in a box of 60 x 16."""

    robust: str
    static: str


class TableCell(NamedTuple):
    """A table cell. Texts are raw: the page escapes them."""

    column: Column
    text: str = NONE
    value: str = ""
    """What it sorts by; empty sorts last."""
    interval: str = ""
    note: str = ""
    hole: str = ""
    """What an incomplete row lacks."""
    track: Track | None = None
    spark: Spark | None = None


PER_SHOTS = (
    ("robust", "robust", "right under the stale and the new attack: the headline"),
    ("robust_rule", "robust_rule", "right under who knows how it adapts, not to which images"),
    ("static", "static", "on examples crafted before the model adapted: what others report"),
    ("clean", "clean", "images as they are"),
    ("inflation", "inflation", "static minus robust: what scoring stale examples overstates"),
    ("gain", "gain", "robust@K minus robust@0: what adaptation is worth"),
    ("unseen", "unseen union", "right under all attacks of families training did not use"),
    ("worst", "worst family", "right under all attacks of the worst family"),
    ("autoattack", "AutoAttack", "right under AutoAttack"),
    ("collateral", "collateral", "mean change on other attacks than the one shown; the worst one"),
    ("size", "n x episodes", "images scored, and draws of the shown examples for each of them"),
)
"""Name, label and help of the columns each K has."""
ADAPTED_ONLY = ("robust_rule", "static", "inflation", "gain", "collateral")
SIGNED = ("gain", "collateral")
ALWAYS = ("rank", "defense", "robust")
"""Keys of columns that no choice leaves out."""
FURTHER = {
    "network": "network", "before": "robust@0", "curve": "over K", "audit": "audit",
    "training_passes": "training", "flags": "flags",
}  # fmt: skip
"""Keys and names of columns that do not belong to a K."""
CHOICES = {name: f"{label}@K" for name, label, _ in PER_SHOTS if name not in ALWAYS} | FURTHER
"""Keys of columns that may be chosen, each with its name."""
DEFAULT = ("network", "before", "audit", "robust_rule", "static", "clean", "size", "curve")
CURVE_HELP = "robust@K over all K, static@K dashed; sorted by the change from first to last"
AUDIT_HELP = "whether attacks on this very model can be believed, and why not"
RANK_HELP = "place by robust@{0}; beside it the places that paired tests leave open (95%, Holm)"


def columns(table: pd.DataFrame) -> list[Column]:
    """Of one data set: ranks, defense and network, then each K from the largest down, costs."""
    shots = sorted({*table["shots"]}, reverse=True)
    found = [Column("rank", f"rank@{k}", k, RANK_HELP.format(k)) for k in shots]
    found.append(Column("defense", "defense", None, "and how it adapts"))
    found.append(Column("network", "network", None, "the architecture that is defended"))
    for k in shots:
        mine = table[table["shots"] == k]
        found += [
            Column(name, f"{label}@{k}", k, text)
            for name, label, text in PER_SHOTS
            if (k or name not in ADAPTED_ONLY)
            and (name in ("robust", "clean", "size") or mine[name].notna().any())
        ]
    if len(shots) > 1:
        found.append(Column("curve", "over K", None, CURVE_HELP))
    found.append(Column("training_passes", "training", None, "images through the network, passes"))
    found.append(Column("flags", "flags", None, "what makes its cells doubtful"))
    beside = [Column("audit", "audit", None, AUDIT_HELP)]  # of the headline: its doubts
    if 0 in shots and len(shots) > 1:  # and where every K began
        before = next(c for c in found if c.name == "robust" and c.shots == 0)
        found.remove(before)
        beside.insert(0, before._replace(shots=None))
    place = next(i for i, column in enumerate(found) if column.name == "robust")
    return [*found[: place + 1], *beside, *found[place + 1 :]]


def chosen(text: str) -> list[str]:
    """Keys of columns from a comma-separated list; UsageError for one that is none."""
    keys = [part for part in (each.strip() for each in text.split(",")) if part]
    for key in keys:
        if key not in (*CHOICES, *ALWAYS):
            raise unknown("column", key, CHOICES)
    return keys


def cells(lines: Mapping[int, Any], wanted: Sequence[Column]) -> Iterator[TableCell]:
    """The cells of one row, whose lines of the board are given by K; no line is a hole."""
    any_line = next(iter(lines.values()))
    for column in wanted:
        k = column.shots
        if column.name == "curve":
            yield _curve(column, lines)
        elif column.shots is None and column.name != "robust":
            yield _fact(column, any_line, lines)
        elif (line := lines.get(0 if k is None else k)) is None:
            yield TableCell(column, hole="not run" if column.name == "robust" else "")
        elif column.name == "rank":
            yield _rank(column, line)
        elif column.name == "size":
            yield _size(column, line)
        else:
            yield _number(column, line)


def _fact(column: Column, line: Any, lines: Mapping[int, Any]) -> TableCell:
    if column.name in ("defense", "network"):
        text = visible(getattr(line, column.name))
        return TableCell(column, text, text)
    if column.name == "audit":
        said = told(each.audit for each in lines.values() if each.audit)
        verdict, _, codes = said.partition(" (") if ";" not in said else (said, "", "")
        value = (
            "" if said.startswith(NOT) or not said else str(ORDER.index(verdict.partition(",")[0]))
        )
        return TableCell(column, verdict or NONE, value, visible(codes.removesuffix(")"), 160))
    if column.name == "flags":
        found = sorted({flag for each in lines.values() for flag in each.flags})
        shown = [visible(flag, 160) for flag in found]
        return TableCell(column, str(len(found) or NONE), str(len(found)), note="; ".join(shown))
    passes = line.training_passes
    if pd.isna(passes):
        return TableCell(column, note="not known")
    return TableCell(column, in_short(passes), f"{passes:.0f}", note=f"{passes:,.0f} passes")


def _curve(column: Column, lines: Mapping[int, Any]) -> TableCell:
    done = [line for _, line in sorted(lines.items()) if not pd.isna(line.robust)]
    if len(done) < 2:
        return TableCell(column)
    values = [getattr(line, name) for line in done for name in ("robust", "static")]
    low, span = min(values), max(SPAN, max(values) - min(values))
    x = [60 * i / (len(done) - 1) for i in range(len(done))]
    robust, static = (
        " ".join(
            f"{a:.0f},{15 - 14 * (getattr(each, name) - low) / span:.1f}"
            for a, each in zip(x, done, strict=True)
        )
        for name in ("robust", "static")
    )
    said = ", ".join(f"{percent(line.robust)} at K = {line.shots}" for line in done)
    change = done[-1].robust - done[0].robust
    return TableCell(
        column, "", f"{change:.6f}", note=f"robust@K: {said}", spark=Spark(robust, static)
    )


def several(names: Sequence[str]) -> str:
    """Names in one harmless line; of many the first NAMED and a count."""
    named = ", ".join(visible(name, 40) for name in names[:NAMED])
    return f"{named} and {len(names) - NAMED} more" if len(names) > NAMED else named


def _rank(column: Column, line: Any) -> TableCell:
    if pd.isna(line.rank):
        kind = line.missing.partition(":")[0] if line.status == "done" else ""
        return TableCell(column, interval=kind, note=line.missing)
    places = f"{line.rank_low}{NONE}{line.rank_high}"
    if not line.tied:
        return TableCell(column, str(line.rank), str(line.rank), places)
    note = f"no test tells it from {several(line.tied)}"
    return TableCell(column, f"{line.rank} \N{ALMOST EQUAL TO}", str(line.rank), places, note)


def _size(column: Column, line: Any) -> TableCell:
    if pd.isna(line.n):
        return TableCell(column)
    seeds = f"{line.seeds} seeds" if line.seeds > 1 else ""
    value = f"{line.n * line.episodes}"
    return TableCell(column, f"{line.n} x {line.episodes}", value, seeds, line.note)


def _number(column: Column, line: Any) -> TableCell:
    value = getattr(line, column.name)
    if pd.isna(value):
        hole = line.missing or line.status if column.name == "robust" else ""
        return TableCell(column, hole=hole if line.status != "done" else "")
    signed = column.name in SIGNED
    ends = getattr(line, f"{column.name}_interval", None)
    interval = _ends(Interval(*ends), signed) if isinstance(ends, tuple) else ""
    note, track = "", None
    if column.name == "worst":
        note = visible(line.worst_family)
    if column.name == "robust_rule":
        note = f"over {line.ruled} of {line.attacks} attacks, those with several draws"
    if column.name == "collateral":
        interval = f"worst {percent(line.collateral_worst, signed=True)}"
    if column.name == "robust":
        track = _track(line)
    return TableCell(
        column, percent(value, signed=signed), f"{value:.6f}", interval, note, "", track
    )


def _ends(ends: Interval, signed: bool) -> str:
    low, high = (percent(end, signed=signed) for end in ends)
    return f"{low} to {high}" if signed else f"{low}{NONE}{high}"


def _track(line: Any) -> Track:
    low, high = line.robust_interval
    static = f"{100 * line.static:.2f}" if line.shots else None
    return Track(f"{100 * low:.2f}", f"{100 * high:.2f}", f"{100 * line.robust:.2f}", static)
