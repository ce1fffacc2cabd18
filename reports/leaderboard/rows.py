"""The rows of a leaderboard: each with its lines by threat and K."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from reports.leaderboard.threats import ALL
from reports.tidy.frame import rows
from reports.tidy.rows import Key
from reports.tidy.sources import Sourced

ROW = ("dataset", "network", "defense", "method", "knowledge", "steps", "lr")


class BoardRow(NamedTuple):
    """A defense on a data set and network with one way to adapt; `lines` by threat, then K."""

    dataset: str
    network: str
    defense: str
    adaptation: str
    knowledge: str
    lines: dict[str, dict[int, Any]]

    @property
    def trained(self) -> tuple[str, str, str]:
        """Data set, network and defense: whose records may be its."""
        return self.dataset, self.network, self.defense

    @property
    def key(self) -> Key:
        """Of that line."""
        return Key(*(getattr(self.adapted, name) for name in Key._fields))

    @property
    def adapted(self) -> Any:
        """The line of the largest K."""
        lines = self.lines[ALL]
        return lines[max(lines)]


def board_rows(table: pd.DataFrame) -> list[BoardRow]:
    """From `board` with its column `adaptation`: a row per defense and adaptation."""
    found: defaultdict[tuple[Any, ...], dict[tuple[Any, ...], list[Any]]] = defaultdict(dict)
    for line in rows(table):
        adaptation = tuple(getattr(line, name) for name in ROW[3:])
        found[line.dataset, line.network, line.defense].setdefault(adaptation, []).append(line)
    return [
        _row(key, lines, start)
        for key, by_adaptation in found.items()
        for start, lines in _with_start(by_adaptation)
    ]


def _with_start(
    by_adaptation: Mapping[tuple[Any, ...], list[Any]],
) -> Iterator[tuple[list[Any], list[Any]]]:
    """The lines of K = 0 beside those of each adaptation; alone where nothing adapts."""
    start = [line for lines in by_adaptation.values() for line in lines if line.shots == 0]
    adapted = [lines for lines in by_adaptation.values() if lines[0].shots > 0]
    yield from ((start, lines) for lines in adapted or [[]])


def _row(key: tuple[Any, ...], adapted: list[Any], start: list[Any]) -> BoardRow:
    by_threat: defaultdict[str, dict[int, Any]] = defaultdict(dict)
    for line in (*start, *adapted):
        by_threat[line.threat][line.shots] = line
    last = (adapted or start)[-1]
    dataset, network, defense = key
    return BoardRow(dataset, network, defense, last.adaptation, last.knowledge, dict(by_threat))


def of_row(row: BoardRow, sources: Sequence[Sourced]) -> list[Sourced]:
    """Those of a row, out of the records of its defense: of K = 0, and of its way to adapt."""
    line = row.adapted
    wanted = (line.method, line.knowledge, line.steps, line.lr)
    return [
        one for one in sources
        if not (budget := one.record.cell.budget).adapts
        or (budget.method, budget.knowledge, budget.steps, budget.lr) == wanted
    ]  # fmt: skip
