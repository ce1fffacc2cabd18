"""Records of several results folders and record files, put together: what disagrees is an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmark.core.errors import UsageError
from benchmark.core.records import Cell, Record
from benchmark.core.store import read_record, record_files
from reports.board_rows import Row
from reports.reference import SUFFIX, read_file
from reports.text import visible


class Sourced(NamedTuple):
    """A record and where it was read."""

    record: Record
    path: Path

    @property
    def file(self) -> str:
        """The path in one harmless line."""
        return visible(str(self.path), 300)


def gather(places: Sequence[Path], reference: Sequence[Path] = ()) -> list[Sourced]:
    """All records on test images of folders and record files, each cell once.

    Whoever ranks must not leave out what cannot be read, as a report does. Of `reference` only
    defenses count that `places` have no record of: another machine need not agree to the bit.

    Raises:
        UsageError: a place holds no records, one cannot be read, two of one cell disagree, or an
            attack has two strengths on one data set. The message names the files.
    """
    found: dict[Cell, Sourced] = {}
    for place in places:
        read = list(_read(place))
        if not read:
            raise UsageError(
                f"expected records below {visible(str(place), 300)}, got none; "
                "run `python -m benchmark run --results DIR` first, or give its folder"
            )
        for one in read:
            if one.record.cell.split == "test":
                _agree(found.setdefault(one.record.cell, one), one)
    known = {_trained(one) for one in found.values()}
    further = [one for place in reference for one in _read(place) if _trained(one) not in known]
    _check_strengths([*found.values(), *further])
    return [*found.values(), *further]


def of_row(row: Row, sources: Sequence[Sourced]) -> list[Sourced]:
    """Those of a row, out of the records of its defense: of K = 0, and of its way to adapt."""
    line = row.adapted
    wanted = (line.method, line.knowledge, line.steps, line.lr)
    return [
        one for one in sources
        if not (budget := one.record.cell.budget).adapts
        or (budget.method, budget.knowledge, budget.steps, budget.lr) == wanted
    ]  # fmt: skip


def _trained(one: Sourced) -> tuple[str, str, str]:
    cell = one.record.cell
    return cell.dataset, cell.network, cell.defense


def _read(place: Path) -> Iterator[Sourced]:
    if place.name.endswith(SUFFIX):
        yield from (Sourced(record, place) for record in read_file(place))
        return
    for path in record_files(place):
        yield Sourced(read_record(path), path)


_JUDGED = ("status", "outcome", "family", "threat", "unseen", "trained_on", "query")


def _agree(one: Sourced, other: Sourced) -> None:
    """UsageError if two records of one cell say different things."""
    for name in _JUDGED:
        if getattr(one.record, name) != getattr(other.record, name):
            what = "verdicts" if name == "outcome" else name
            raise UsageError(
                f"{one.file} and {other.file} are the same cell with different {what}; they come "
                "from two machines, trainings or versions: leave one of them out"
            )


def _check_strengths(found: Iterable[Sourced]) -> None:
    """UsageError if one name stands for two attacks."""
    known: dict[tuple[str, str], Sourced] = {}
    for one in found:
        key = one.record.cell.dataset, one.record.cell.attack
        first = known.setdefault(key, one)
        if first.record.threat != one.record.threat or first.record.family != one.record.family:
            raise UsageError(
                f"{first.file} and {one.file}: {visible(key[1])} on {visible(key[0])} is "
                f"{visible(first.record.threat)} in one and {visible(one.record.threat)} in the "
                "other; expected one strength: leave one of them out"
            )
