"""Everything a leaderboard is made of, from records: the one entry for the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmark.core.errors import UsageError
from benchmark.results.store import atomic_path, check_writable
from reports.archive.reference import shipped
from reports.leaderboard.columns import DEFAULT
from reports.leaderboard.exports import Names, as_csv, as_json, as_latex, as_markdown
from reports.leaderboard.naming import Known, namings, nobody, tied_names
from reports.leaderboard.page import page
from reports.leaderboard.per_class import Labels, by_class
from reports.leaderboard.submission import check_submission
from reports.leaderboard.table import board
from reports.tidy.aggregate import per_attack
from reports.tidy.comparable import TrainedKey
from reports.tidy.distinct import Distinct, distinct
from reports.tidy.format import adaptations
from reports.tidy.frame import from_records
from reports.tidy.sources import gather


class Look(NamedTuple):
    """What changes no number."""

    known: Known = nobody
    """What is known of a defense by its name, for records that do not say."""
    columns: Sequence[str] | None = None
    """Keys of those in Markdown, LaTeX and CSV, and first seen on the page; None: a few, and in
    CSV all."""


class Claims(NamedTuple):
    """What came with submissions."""

    scores: Sequence[Path] = ()
    """Files of scores that must be those of the records."""
    refused: Mapping[TrainedKey, str] = {}
    """Data set, network and defense of rows that are not ranked, and why
    (`reports.archive.handed_in`)."""


def write_leaderboard(
    places: Sequence[Path],
    out: Path,
    with_reference: bool = False,
    claims: Claims = Claims(),  # noqa: B008 (a constant)
    labels: Callable[[str], Labels] | None = None,
    clusters: Path | None = None,
    look: Look = Look(),  # noqa: B008 (a constant)
) -> list[Path]:
    """Write leaderboard.html, .md, .csv, .tex and .json; returns their paths.

    Everything is made before the first file is written, and each replaces its predecessor at once.

    Args:
        places: results folders and files of records (`reports.archive.reference`).
        out: a folder, made if need be.
        with_reference: whether the project's own records of other defenses are put beside them.
        labels: by the name of a data set its `classes.Labels`, so that rows open to their classes.
        clusters: file of `duplicates`: near-duplicates count once, and `note` says which.
        look: what defenses are called, and which columns are seen.
        claims: what others claim, and whose rows are not ranked.

    Raises:
        UsageError: the records cannot be read or disagree, a submission says otherwise, or
            `out` cannot be written.
    """
    sources = gather(places, shipped() if with_reference else ())
    if out.exists() and not out.is_dir():
        raise UsageError(f"expected a folder to write into, got the file {out}; give --out")
    audits = [one.audit for one in sources if one.audit]
    frame = from_records([one.record for one in sources], audits=audits)
    frame, counted = distinct(frame, clusters) if clusters else Distinct(frame, [])
    ours = {one.trained for one in sources if one.reference}
    table, attacks = board(frame, ours, claims.refused), per_attack(frame)
    table, attacks = (part.assign(adaptation=adaptations(part)) for part in (table, attacks))
    notes = [[one, *counted] if one else counted for one in table["note"]]
    table = table.assign(note=["; ".join(said) for said in notes])
    names = namings(frame, look.known)
    for path in claims.scores:
        check_submission(path, table, names)
    of_classes = {
        query: found
        for name in dict.fromkeys(frame["dataset"])
        for query, found in (labels(name) if labels else {}).items()
    }
    classes = by_class(frame, of_classes)
    seen = DEFAULT if look.columns is None else look.columns
    read = _with_ties(table, names)
    texts = {
        "html": page(read, attacks, classes, sources, names, seen),
        "md": as_markdown(read, names, seen), "csv": as_csv(table, names, look.columns),
        "tex": as_latex(read, names, seen), "json": as_json(table, names),
    }  # fmt: skip
    check_writable(out)
    paths = []
    for kind, text in texts.items():
        paths.append(out / f"leaderboard.{kind}")
        with atomic_path(paths[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths


def _with_ties(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """Rows that are tied by what they are called."""
    pairs = zip(table["tied"], table["network"], strict=True)
    tied = [tied_names(rows, network, lambda one: names[one].name) for rows, network in pairs]
    return table.assign(tied=pd.Series(tied, index=table.index, dtype=object))
