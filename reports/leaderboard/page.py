"""leaderboard.html: one file that works offline, without a framework and without a request."""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reports.leaderboard.columns import Column, TableCell, cells, columns
from reports.leaderboard.detail import Detail, detail
from reports.leaderboard.images import albums
from reports.leaderboard.rows import BoardRow, board_rows
from reports.leaderboard.threats import ALL
from reports.tidy.escape import visible
from reports.tidy.frame import rows
from reports.tidy.rows import Key, by_family
from reports.tidy.sources import Sourced


class View(NamedTuple):
    """A row under one threat."""

    number: int
    threat: str
    row: BoardRow
    cells: list[TableCell]


class Section(NamedTuple):
    """The table of one data set and network."""

    dataset: str
    network: str
    columns: list[Column]
    shown: int
    """The K whose columns are seen at first."""
    views: dict[str, list[View]]
    """By threat, ranked rows first."""
    details: list[tuple[int, BoardRow, Detail]]


def page(
    table: pd.DataFrame, attacks: pd.DataFrame, classes: pd.DataFrame, sources: Sequence[Sourced]
) -> str:
    """The whole page.

    Args:
        table: `board` with the column `adaptation`.
        attacks: `headline.per_attack` of the same frame, with the column `adaptation`.
        classes: `classes.by_class` of the same frame, or no rows.
        sources: the records that all come from.
    """
    sections = _sections(table, attacks, classes, sources)
    script, style = (_text(name) for name in ("board.js", "board.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["visible"] = visible
    return environment.from_string(_text("page.html")).render(
        sections=sections, script=Markup(script), style=Markup(style), digest=digest,
        shots=sorted({*table["shots"]}, reverse=True), threats=list(dict.fromkeys(table["threat"])),
        knowledge=sorted({row.knowledge for s in sections for _, row, _ in s.details} - {""}),
        datasets=list(dict.fromkeys(section.dataset for section in sections)), all=ALL,
        records=len(sources),
    )  # fmt: skip


def _text(name: str) -> str:
    return (files("reports") / "page" / name).read_text("utf-8")


def _sections(
    table: pd.DataFrame, attacks: pd.DataFrame, classes: pd.DataFrame, sources: Sequence[Sourced]
) -> list[Section]:
    by_defense: defaultdict[tuple[str, str, str], list[Sourced]] = defaultdict(list)
    for one in sources:
        cell = one.record.cell
        by_defense[cell.dataset, cell.network, cell.defense].append(one)
    by_attack: defaultdict[tuple[str, str, str], list[Any]] = defaultdict(list)
    for line in rows(attacks):
        by_attack[line.dataset, line.network, line.defense].append(line)
    by_key: defaultdict[Key, list[Any]] = defaultdict(list)
    for line in rows(classes):
        by_key[Key(*line[: len(Key._fields)])].append(line)
    tables = [
        (part, board_rows(part)) for _, part in table.groupby(["dataset", "network"], sort=False)
    ]
    pictures = albums([(row, by_defense[row.trained]) for _, ours in tables for row in ours])
    found: list[Section] = []
    number = 0
    for part, ours in tables:
        wanted, shown = columns(part), int(part["shots"].max())
        views: dict[str, list[View]] = {ALL: []}
        details = []
        for row in ours:
            key, album = row.trained, pictures[number]
            number += 1
            lines = [line for line in by_attack[key] if line.adaptation in (row.adaptation, "none")]
            lines.sort(key=lambda line: (by_family(line.family), line.attack))
            mine = by_key.get(row.key, [])
            details.append((number, row, detail(row, lines, mine, album, by_defense[key])))
            for threat, of_threat in row.lines.items():
                view = View(number, threat, row, list(cells(of_threat, wanted)))
                views.setdefault(threat, []).append(view)
        for together in views.values():
            together.sort(key=lambda view: _place(view, shown))
        found.append(Section(ours[0].dataset, ours[0].network, wanted, shown, views, details))
    return found


def _place(view: View, shown: int) -> tuple[bool, int, float, str]:
    """Ranked rows by rank, then the others by robust@0."""
    rank = next(cell for cell in view.cells if cell.column.name == "rank")
    before = next(cell for cell in view.cells if cell.column.name == "robust")
    return (
        not rank.value, int(rank.value or 0), -float(before.value or 0), view.row.defense,
    )  # fmt: skip
