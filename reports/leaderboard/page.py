"""leaderboard.html: one file that works offline, without a framework and without a request."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from reports.leaderboard.columns import ALWAYS, CHOICES, DEFAULT, Column, TableCell, cells, columns
from reports.leaderboard.detail import Detail, detail
from reports.leaderboard.images import albums
from reports.leaderboard.naming import Naming
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
    naming: Naming
    cells: list[TableCell]
    reason: str
    """Why it has no rank at the largest K; empty where it has."""


class Section(NamedTuple):
    """The table of one data set."""

    dataset: str
    columns: list[Column]
    shown: int
    """The K whose columns are seen at first."""
    attacks: list[tuple[str, str, str]]
    """Family, name and threat of each, in the order of the page."""
    views: dict[str, list[View]]
    """By threat, ranked rows first."""
    details: list[tuple[int, BoardRow, Detail]]


def page(
    table: pd.DataFrame, attacks: pd.DataFrame, classes: pd.DataFrame, sources: Sequence[Sourced],
    names: Mapping[str, Naming], chosen: Sequence[str] = DEFAULT,
) -> str:  # fmt: skip
    """The whole page.

    Args:
        table: `board` with the column `adaptation`.
        attacks: `headline.per_attack` of the same frame, with the column `adaptation`.
        classes: `classes.by_class` of the same frame, or no rows.
        sources: the records that all come from.
        names: how each defense is shown.
        chosen: keys of the columns that are seen at first.
    """
    sections = _sections(table, attacks, classes, sources, names)
    style, script = _text("board.css"), _text("board.js") + _text("copy.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"visible": visible, "broken": broken, "quoted": quoted}
    there = {column.key for section in sections for column in section.columns}
    return environment.from_string(_text("page.html")).render(
        sections=sections, script=Markup(script), style=Markup(style), digest=digest,
        shots=sorted({*table["shots"]}, reverse=True), threats=list(dict.fromkeys(table["threat"])),
        knowledge=sorted({row.knowledge for s in sections for _, row, _ in s.details} - {""}),
        datasets=list(dict.fromkeys(section.dataset for section in sections)), all=ALL,
        records=len(sources), names=names, chosen={*ALWAYS, *chosen},
        choices={key: name for key, name in CHOICES.items() if key in there},
        most=MOST, attacks=list(dict.fromkeys(name for s in sections for _, name, _ in s.attacks)),
    )  # fmt: skip


MOST = 200
"""Rows of a table that are seen at first: a button shows the others, filters look at all."""
LONGEST = 24
"""Letters of a word that is not broken."""


_PIECE = re.compile(rf"\S{{{LONGEST}}}(?=\S)|(?:\S{{1,{LONGEST}}}(?=\s|$)|\s)+")


def broken(text: str) -> Markup:
    """Text that may break between its parts, and inside a word only where that is very long.

    >>> broken("e_at[passes=2]<b>")
    Markup('e_<wbr>at[<wbr>passes=<wbr>2]<wbr>&lt;b&gt;')
    """
    parts = re.split(r"(?<=[_\[\],=+:/.])(?=\S)", text)
    pieces = [piece for part in parts for piece in _PIECE.findall(part)]
    return Markup("<wbr>").join(pieces)


def quoted(text: str) -> Markup:
    """JSON for an attribute in single quotes, where double ones need no escape: many bytes less.

    >>> quoted('["a & <b>"]')
    Markup('["a &amp; &lt;b>"]')
    """
    return Markup(text.replace("&", "&amp;").replace("<", "&lt;").replace("'", "&#39;"))


def _text(name: str) -> str:
    return (files("reports") / "page" / name).read_text("utf-8")


def _sections(
    table: pd.DataFrame, attacks: pd.DataFrame, classes: pd.DataFrame, sources: Sequence[Sourced],
    names: Mapping[str, Naming],
) -> list[Section]:  # fmt: skip
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
    tables = [(part, board_rows(part)) for _, part in table.groupby("dataset", sort=False)]
    pictures = albums([(row, by_defense[row.trained]) for _, ours in tables for row in ours])
    found: list[Section] = []
    number = 0
    for part, ours in tables:
        wanted, shown = columns(part), int(part["shots"].max())
        listed = _listed([line for row in ours for line in by_attack[row.trained]])
        places = {name: place for place, name in enumerate(listed)}
        views: dict[str, list[View]] = {ALL: []}
        details = []
        for row in ours:
            key, album = row.trained, pictures[number]
            number += 1
            lines = [line for line in by_attack[key] if line.adaptation in (row.adaptation, "none")]
            lines.sort(key=lambda line: places[line.attack])
            mine = by_key.get(row.key, [])
            details.append((number, row, detail(row, lines, places, mine, album, by_defense[key])))
            for threat, of_threat in row.lines.items():
                reason = getattr(of_threat.get(shown), "missing", "")
                found_cells = list(cells(of_threat, wanted))
                view = View(number, threat, row, names[row.defense], found_cells, reason)
                views.setdefault(threat, []).append(view)
        for together in views.values():
            together.sort(key=lambda view: _place(view, shown))
        shown_attacks = [(visible(a), visible(b), visible(c)) for a, b, c in listed.values()]
        name = ours[0].dataset
        found.append(Section(name, wanted, shown, shown_attacks, views, details))
    return found


def _listed(lines: Sequence[Any]) -> dict[str, tuple[str, str, str]]:
    """By attack its family, name and threat, in the order of families."""
    lines = sorted(lines, key=lambda line: (by_family(line.family), line.attack))
    return {line.attack: (line.family, line.attack, line.threat) for line in lines}


def _place(view: View, shown: int) -> tuple[bool, int, float, str]:
    """Ranked rows by rank, then the others by robust@0."""
    rank = next(cell for cell in view.cells if cell.column.name == "rank")
    found = {cell.column.key: cell for cell in view.cells if cell.column.name == "robust"}
    before = found.get("before", found["robust"])
    return (
        not rank.value, int(rank.value or 0), -float(before.value or 0), view.row.defense,
    )  # fmt: skip
