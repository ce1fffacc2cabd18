"""Records of several results folders and record files, put together: what disagrees is an error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmark.core.errors import UsageError
from benchmark.results.audits import Audit
from benchmark.results.records import Cell, Record
from benchmark.results.store import read_record, record_files
from reports.archive.audited import audits_of, matched, renamed
from reports.archive.reference import SUFFIX, read_file
from reports.archive.shareable import shareable
from reports.archive.trust import differing, options
from reports.tidy.escape import visible


class Sourced(NamedTuple):
    """A record and where it was read."""

    record: Record
    path: Path
    reference: bool = False
    """Whether it is one of the project's own, beside which the others stand."""
    audit: Audit | None = None
    """Of its model, which is called as in the record."""

    @property
    def file(self) -> str:
        """The path in one harmless line."""
        return visible(str(self.path), 300)

    @property
    def trained(self) -> tuple[str, str, str]:
        """Data set, network and defense."""
        cell = self.record.cell
        return cell.dataset, cell.network, cell.defense


def gather(places: Sequence[Path], reference: Sequence[Path] = ()) -> list[Sourced]:
    """All records on test images of folders and record files, each cell once, fit to be shown.

    Whoever ranks must not leave out what cannot be read, as a report does. Of `reference` only
    defenses count that `places` have no record of: another machine need not agree to the bit. Of
    several records of one cell with other limits or episodes the one on most counts.

    Raises:
        UsageError: a place holds no records, one or an audit cannot be read, two of one cell
            disagree, two models have one name, or an attack has two strengths on one data set. The
            message names the files.
    """
    read = [one for place in places for one in _some(place)]
    mine = len(read)
    read += [one for place in reference for one in _read(place)]
    audits = [audit for place in (*places, *reference) for audit in audits_of(place)]
    read = _shareable(read, audits)
    found: dict[Cell, Sourced] = {}
    for one in read[:mine]:
        if one.record.cell.split == "test":
            _agree(found.setdefault(one.record.cell, one), one)
    known_here = {one.trained for one in found.values()}
    further = [one._replace(reference=True) for one in read[mine:] if one.trained not in known_here]
    counted = [*_counted(found.values()), *further]
    _check_models(counted)
    _check_strengths(counted)
    return counted


def _shareable(read: Sequence[Sourced], audits: Sequence[Audit]) -> list[Sourced]:
    """All with the audits of their models, and nothing that names a folder."""
    found = matched([one.record for one in read], audits)
    known = shareable([one.record for one in read])
    return [
        one._replace(record=record, audit=audit and renamed(audit, record.cell.defense))
        for one, record, audit in zip(read, known, found, strict=True)
    ]


def _some(place: Path) -> list[Sourced]:
    read = list(_read(place))
    if not read:
        raise UsageError(
            f"expected records below {visible(str(place), 300)}, got none; "
            "run `python -m benchmark run --results DIR` first, or give its folder"
        )
    return read


def _counted(found: Iterable[Sourced]) -> list[Sourced]:
    """Of records that differ in limit and episodes only, the one that tables count."""
    best: dict[Cell, Sourced] = {}
    for one in found:
        place = one.record.cell.model_copy(update={"limit": None, "episodes": 1})
        known = best.setdefault(place, one)
        if _evidence(one) > _evidence(known):
            best[place] = one
    return list(best.values())


def _evidence(one: Sourced) -> tuple[bool, int, int]:
    """As `lines.evidence`."""
    outcome = one.record.outcome
    return outcome is not None, outcome.n if outcome else 0, one.record.cell.episodes


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
    if options(one.record) != options(other.record):
        differ = differing(options(one.record), options(other.record))
        raise UsageError(
            f"{one.file} and {other.file} are the same cell under other options of the attack "
            f"({visible(differ, 300)}): leave one of them out"
        )


def _check_models(found: Iterable[Sourced]) -> None:
    """UsageError if one name and training seed stand for two models."""
    known: dict[tuple[str, str, str, int], Sourced] = {}
    for one in found:
        if one.record.status == "done":
            key = *one.trained, one.record.cell.seed
            first = known.setdefault(key, one)
            ours, theirs = (each.record.fingerprint.get("weights") for each in (first, one))
            if ours != theirs:
                raise UsageError(
                    f"{first.file} and {one.file} are of two models, both called "
                    f"{visible(key[2])} (weights {ours}, {theirs}); they come from two trainings "
                    "or two files: rename one, or leave it out"
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
