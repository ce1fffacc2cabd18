"""A leaderboard.json of others, checked: every score is recomputed from the verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.results.sealing import parse
from reports.leaderboard.exports import FORMAT, SCHEMA, Names, as_json
from reports.statistics.scores import QUANTITIES
from reports.tidy.escape import visible
from reports.tidy.rows import Key

CLAIMED = (*QUANTITIES, "unseen", "worst", "autoattack")
"""Ranks are not among them: they depend on who else is in the table."""
CLOSE = 1e-6
NAME = (*Key._fields, "threat")


def check_submission(path: Path, table: pd.DataFrame, names: Names) -> None:
    """Compare a submitted file with `board` of the records it claims to be made of.

    Raises:
        UsageError: it cannot be read, claims a row whose records are not there, or says a number
            that the verdicts do not give. The message names the row and both numbers.
    """
    ours = {_name(row): row for row in json.loads(as_json(table, names))["rows"]}
    for row in _rows(path):
        known = ours.get(_name(row))
        if known is None:
            raise UsageError(f"{path}: claims {_words(row)}, of which there are no records")
        for name in CLAIMED:
            claimed, found = row.get(name), known[name]
            if not _equal(claimed, found):
                raise UsageError(
                    f"{path}: {_words(row)}: {name} says {_short(claimed)}, the verdicts say "
                    f"{_short(found)}; expected the scores of its records"
                )


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        content = parse(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not a readable submission ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UsageError(
            f"{path}: expected a leaderboard.json of `leaderboard`, got something else"
        )
    found = content.get("schema_version")
    if found != SCHEMA:
        raise UsageError(f"{path}: written by schema {found!r}, this version reads {SCHEMA}")
    rows = content.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f"{path}: expected a list of rows")
    if not all(name in row for row in rows for name in NAME):
        raise UsageError(f"{path}: expected {', '.join(NAME)} in every row")
    yield from rows


def _name(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in NAME)


def _words(row: Mapping[str, Any]) -> str:
    return visible(
        f"{row['defense']} on {row['dataset']}, K = {row['shots']}, threat {row['threat']}", 200
    )


def _equal(claimed: Any, found: Any) -> bool:
    if claimed is None or found is None:
        return claimed is found
    return (
        isinstance(claimed, int | float)
        and not isinstance(claimed, bool)
        and abs(claimed - found) <= CLOSE
    )


def _short(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else visible(str(value), 40)
