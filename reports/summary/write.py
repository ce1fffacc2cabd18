"""Everything a report is made of, from a results folder: the one entry for the command line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.core.specs import split
from benchmark.results.audits import readable_audits
from reports.leaderboard.naming import Known, namings, nobody, short_names
from reports.leaderboard.table import costed
from reports.plots.write import write_plots
from reports.summary.files import as_csv, write_tables
from reports.tidy.aggregate import per_family, views
from reports.tidy.distinct import distinct
from reports.tidy.frame import from_records, read
from reports.tidy.leave_one_out import joined
from reports.tidy.training_cost import Equal, equal_training


class ReportFiles(NamedTuple):
    """What was written, and a line for each record file not read and each defense left out."""

    csv: Path
    parquet: Path
    markdown: Path
    further: tuple[Path, ...]
    plots: list[Path]
    problems: list[str]


def write_report(
    directory: Path | str, out: Path | str, equal: str | None = None, join: str | None = None,
    clusters: Path | None = None, known: Known = nobody,
) -> ReportFiles:  # fmt: skip
    """Read the records below `directory`; write tables, summary and plots into `out`.

    Each file replaces its predecessor at once or not at all. A further kind of page is one more
    function of the frame, called here. `equal` names a defense: only those whose training took as
    many passes are shown (`costs.equal_training`). `join` names options, comma-separated:
    defenses that differ in these only are one row (`joined`). `clusters` is a file of `duplicates`:
    near-duplicates count once (`distinct`). `known` says what defenses are called in plots.

    Raises:
        UsageError: there are no readable records, `out` cannot be written, `equal` is unknown,
            `join` is nothing to join by, or `clusters` cannot be read.
    """
    loaded, out = read(directory), Path(out)
    _check_folder(out)
    audits, problems = readable_audits(Path(directory))
    frame, left_out = Equal(from_records(loaded.records, audits=audits), [])
    if equal is not None:
        frame, left_out = equal_training(frame, equal)
    for option in split(join or ""):
        frame = joined(frame, option)
    if clusters is not None:
        frame, counted = distinct(frame, clusters)
        left_out = [*left_out, *counted]
    return _write(frame, out, left_out, [*loaded.problems, *problems], known)


def write_if_other(frame: pd.DataFrame, out: Path, known: Known = nobody) -> None:
    """Write the report of a tidy frame, unless the one in `out` is of the very same numbers.

    Raises:
        UsageError: `out` cannot be written.
    """
    table, page = out / "results.csv", out / "summary.md"
    if page.is_file() and table.is_file() and table.read_bytes() == as_csv(frame).encode():
        return
    _check_folder(out)
    _write(frame, out, [], [], known)


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(
            f"expected a folder to write the report to, got the file {out}; give --out"
        )


def _write(
    frame: pd.DataFrame, out: Path, left_out: list[str], problems: list[str], known: Known
) -> ReportFiles:
    shown, names = views(frame), short_names(namings(frame, known))
    tables, plots = (
        write_tables(frame, shown, out, left_out),
        write_plots(shown, out, costed(frame, shown.head), per_family(frame), names),
    )
    return ReportFiles(*tables, plots, [*problems, *left_out])
