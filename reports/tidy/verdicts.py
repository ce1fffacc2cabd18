"""Records -> verdicts by name, as two results are compared: one entry a cell, strictly read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.core.errors import UsageError
from benchmark.results.records import Record
from reports.archive.audited import audits_of, flagged, matched
from reports.archive.shareable import shareable
from reports.archive.trust import options
from reports.statistics.intervals import Table
from reports.tidy.escape import visible
from reports.tidy.frame import read, unpacked

WIDEST = 160
"""Letters of a cell's name that are shown."""


class CellVerdicts(NamedTuple):
    """The verdicts of a cell under which it is compared."""

    name: str
    table: Table
    """Right or wrong: bool (episodes, n). robust@K; robust@0 where nothing adapts."""
    query: str
    flags: tuple[str, ...] = ()
    options: str | None = None
    """Of the attack, as `trust.options` has them; None where nobody kept them."""
    model: tuple[str, str] = ("", "")
    """What the trained model is called, and the hash of its weights."""

    @property
    def shown(self) -> str:
        """The name in one harmless line."""
        return visible(self.name, WIDEST)

    def pairs_with(self, other: CellVerdicts) -> bool:
        """Whether both are of the same images, the same number of draws and the same strength."""
        strengths = {self.options, other.options} - {None}
        same = self.query == other.query and self.table.shape == other.table.shape
        return same and len(strengths) < 2

    @property
    def size(self) -> str:
        """What two cells must agree in, in words."""
        episodes, n = self.table.shape
        strength = f" under {visible(self.options, WIDEST)}" if self.options else ""
        return f"{n} images x {episodes} episodes of data {visible(self.query)}{strength}"


def read_strictly(folder: Path) -> list[Record]:
    """All records below a results folder, without names of folders (`reports.archive.shareable`).

    Flags of a model's audit are among those of its records.
    A report leaves out what it cannot read; whoever decides something must not.

    Raises:
        UsageError: there is none, or one cannot be read, or an audit cannot be.
    """
    loaded = read(folder)
    if loaded.problems:
        raise UsageError(loaded.problems[0])
    audits = matched(loaded.records, audits_of(folder))
    return shareable([*map(flagged, loaded.records, audits)])


def scored(records: Iterable[Record], source: str) -> dict[str, CellVerdicts]:
    """The done cells on test images by name, and each trained model's clean accuracy beside them.

    Of several records of one cell the one on most images and episodes counts, as in all tables: a
    folder may hold a quick run beside a full one.

    Raises:
        UsageError: two records say different things about the same images, or are of different
            models under one name. They come from two machines or two trainings, and nobody can say
            which of them to judge.
    """
    found: dict[str, CellVerdicts] = {}
    for record in records:
        if record.cell.split == "test":
            for one in _of(record):
                known = found.get(one.name)
                if known is None or _evidence(one) > _evidence(known):
                    found[one.name] = one
                elif one.table.shape == known.table.shape:
                    _agree(one, known, source)
    _check_models(found.values(), source)
    return found


def _of(record: Record) -> Iterator[CellVerdicts]:
    tables = unpacked(record)
    if tables is None:
        return
    cell = record.cell
    trained = f"{cell.dataset}/{cell.network}/{cell.defense}/s{cell.seed}"
    model = trained, record.fingerprint.get("weights", "")
    yield CellVerdicts(f"{trained}/clean", tables.clean_before, record.query, model=model)
    flags = tuple(sorted(record.all_flags))
    yield CellVerdicts(str(cell), tables.robust, record.query, flags, options(record), model)


def _evidence(one: CellVerdicts) -> tuple[int, int]:
    episodes, n = one.table.shape
    return n, episodes


def _agree(one: CellVerdicts, other: CellVerdicts, source: str) -> None:
    if one.query != other.query or not np.array_equal(one.table, other.table):
        changed = "data" if one.query != other.query else "verdicts"
        raise UsageError(
            f"{visible(source)} holds two records of {one.shown} with different {changed}; "
            "expected the results of one machine and one training: keep one of the two folders, or "
            "run the cells again"
        )


def _check_models(found: Iterable[CellVerdicts], source: str) -> None:
    """UsageError if cells of one trained model by name are of two by weights."""
    known: dict[str, CellVerdicts] = {}
    for one in found:
        name, weights = one.model
        first = known.setdefault(name, one)
        if first.model[1] != weights:
            raise UsageError(
                f"{visible(source)}: {first.shown} and {one.shown} are of two models (weights "
                f"{first.model[1]}, {weights}); expected the results of one training: run the "
                "cells again, or remove the records of the other model"
            )
