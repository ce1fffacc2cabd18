"""Everything a report is made of, from a results folder: the one entry for the command line."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmark.core.errors import UsageError
from benchmark.core.garbage import uncollected
from benchmark.core.specs import split
from benchmark.core.store import record_files
from reports.board import costed
from reports.costs import Equal, equal_training
from reports.frame import from_records, read
from reports.headline import views
from reports.joined import joined
from reports.plots import write_plots
from reports.tables import write_tables


class ReportFiles(NamedTuple):
    """What was written, and a line for each record file not read and each defense left out."""

    csv: Path
    parquet: Path
    markdown: Path
    further: tuple[Path, ...]
    plots: list[Path]
    problems: list[str]


@uncollected()
def write_report(
    directory: Path, out: Path, equal: str | None = None, join: str | None = None
) -> ReportFiles:
    """Read the records below `directory`; write tables, summary and plots into `out`.

    Each file replaces its predecessor at once or not at all. A further kind of page is one more
    function of the frame, called here. `equal` names a defense: only those whose training took as
    many passes are shown (`costs.equal_training`). `join` names options, comma-separated:
    defenses that differ in these only are one row (`joined`).

    Raises:
        UsageError: there are no readable records, `out` cannot be written, `equal` is unknown, or
            `join` is nothing to join by.
    """
    loaded = read(directory)
    if out.exists() and not out.is_dir():
        raise UsageError(
            f"expected a folder to write the report to, got the file {out}; give --out"
        )
    frame, left_out = Equal(from_records(loaded.records), [])
    if equal is not None:
        frame, left_out = equal_training(frame, equal)
    for option in split(join or ""):
        frame = joined(frame, option)
    shown = views(frame)
    tables, plots = (
        write_tables(frame, shown, out, left_out),
        write_plots(shown, out, costed(frame, shown.head)),
    )
    return ReportFiles(*tables, plots, [*loaded.problems, *left_out])


def write_if_older(directory: Path, out: Path) -> list[str]:
    """Write the report unless it is younger than every record; returns what could not be read."""
    written = out / "summary.md"
    if written.is_file():
        age = written.stat().st_mtime_ns
        if all(path.lstat().st_mtime_ns < age for path in record_files(directory)):
            return []
    return write_report(directory, out).problems
