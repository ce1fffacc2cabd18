"""The tables on disk: results.csv, results.parquet, summary.md and attacks.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmark.results.store import atomic_path
from reports.summary.by_attack import by_attack
from reports.summary.page import summary
from reports.tidy.aggregate import Views
from reports.tidy.escape import spreadsheet
from reports.tidy.frame import COLUMNS, FURTHER


class TableFiles(NamedTuple):
    """What `write_tables` wrote."""

    csv: Path
    parquet: Path
    markdown: Path
    further: tuple[Path, ...] = ()
    """`attacks.md`; `collateral.csv` and `sequences.csv`, where there is something to say."""


def write_tables(
    frame: pd.DataFrame, shown: Views, out: Path, left_out: Sequence[str] = ()
) -> TableFiles:
    """Write the tidy table, a row per cell, twice, and the summary for readers.

    Args:
        frame: the tidy frame.
        shown: its `headline.views`.
        out: a folder, made if need be.
        left_out: lines on what the records hold and these tables do not.

    Raises:
        UsageError: `out` cannot be written.
    """
    files = TableFiles(out / "results.csv", out / "results.parquet", out / "summary.md")
    table = flat(frame)
    with atomic_path(files.csv) as temporary:
        temporary.write_bytes(as_csv(frame).encode())
    with atomic_path(files.parquet) as temporary:
        table.to_parquet(temporary, index=False)
    attacks = out / "attacks.md"
    pages = {files.markdown: summary(frame, shown, left_out), attacks: by_attack(shown.attacks)}
    for page, text in pages.items():
        with atomic_path(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    further = {"collateral": shown.changed, "sequences": shown.staged}
    written = [out / f"{name}.csv" for name, table in further.items() if len(table)]
    for path in written:
        with atomic_path(path) as temporary:
            further[path.stem].to_csv(temporary, index=False, lineterminator="\n")
    return files._replace(further=(attacks, *written))


def as_csv(frame: pd.DataFrame) -> str:
    """`flat` for spreadsheets: lists joined, nothing that one would run as a formula."""
    table = flat(frame)
    joined = {name: table[name].map("; ".join, na_action="ignore") for name in _LISTS}
    texts = {name: joined.get(name, table[name]).map(_harmless) for name in _texts(table)}
    return str(table.assign(**texts).to_csv(index=False, lineterminator="\n"))


_LISTS = ("flags", "trained_on", "families_shown")


def _texts(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table if table[name].dtype.kind not in "biufM"]


def _harmless(value: Any) -> Any:
    return spreadsheet(value) if isinstance(value, str) else value


def flat(frame: pd.DataFrame) -> pd.DataFrame:
    """The tidy table without arrays, each `..._interval` as `..._low` and `..._high`."""
    columns: dict[str, pd.Series] = {}
    for name in (*COLUMNS, *FURTHER):
        if name.endswith("_interval"):
            stem = name.removesuffix("_interval")
            for place, end in enumerate(("low", "high")):
                ends = [pair[place] if isinstance(pair, tuple) else None for pair in frame[name]]
                columns[f"{stem}_{end}"] = pd.Series(ends, index=frame.index, dtype="float64")
        elif name not in ("verdicts", "positives", "about"):
            columns[name] = frame[name]
    return pd.DataFrame(columns)
