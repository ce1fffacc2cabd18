"""A submission, line by line: what was verified of it, what is taken on trust, what is missing.

A submission is records and their audits. Scores are never read from it: they are made anew.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from benchmark.core.errors import first_few
from benchmark.results.audits import Audit
from benchmark.results.records import UNCHECKED, Record
from reports.archive.audited import matched
from reports.archive.trust import PARTS, differing, options

Kind = Literal["verified", "trusted", "missing", "refused"]
Named = tuple[str, str, str]
"""Data set, network and defense."""
ROUNDED = 0.02
"""Share of verdicts that another company in the batch, or machine, may flip: up to 1.6 % of a cell
were seen between instruction sets (`.ci/run`)."""
SHOWN = 3
VERSION = " version"


class Standards(NamedTuple):
    """What holds here, to which a submission is held."""

    versions: Mapping[str, str]
    """That the protocol declares, by names as in a fingerprint."""
    options: Callable[[str, str], str | None]
    """By data set and attack, its options as `trust.options` has them; None: nobody knows here."""


class Line(NamedTuple):
    """One thing that was looked at."""

    kind: Kind
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


class HandedIn(NamedTuple):
    """What was found, and of which defenses no row is ranked, and why."""

    lines: list[Line]
    refused: dict[Named, str]


def examined(
    records: Sequence[Record], audits: Sequence[Audit], standards: Standards,
    reference: Sequence[Record] = (),
) -> HandedIn:  # fmt: skip
    """Look at a submission.

    Args:
        records: its own, at least one, each read strictly.
        audits: that came with it.
        standards: of here.
        reference: records it is to stand beside: of the same images, attacks and no such name.
    """
    refused: dict[Named, str] = {}
    for named, why in _refusals(records, standards, reference):
        refused.setdefault(named, why)
    lines = [Line("refused", f"{named[2]} on {named[0]}: {why}") for named, why in refused.items()]
    lines += _verified(
        records, standards, reference, {why.partition(":")[0] for why in refused.values()}
    )
    lines += _trusted(records)
    lines += _missing(records, audits, standards, reference)
    return HandedIn(sorted(lines, key=lambda line: _ORDER.index(line.kind)), refused)


_ORDER: tuple[Kind, ...] = ("refused", "verified", "trusted", "missing")


def _named(record: Record) -> Named:
    return record.cell.dataset, record.cell.network, record.cell.defense


def _refusals(
    records: Sequence[Record], standards: Standards, reference: Sequence[Record]
) -> Iterator[tuple[Named, str]]:
    known = {_named(one): one.fingerprint.get("weights") for one in reference}
    for one in records:
        named, weights = _named(one), one.fingerprint.get("weights")
        if named in known and known[named] != weights:
            yield (
                named,
                "taken name: a defense of the reference is called so; hand it in as another",
            )
        here = standards.versions
        other = [n for n in here if one.fingerprint.get(n, here[n]) != here[n]]
        if other:
            part = other[0].removesuffix(VERSION)
            yield (
                named,
                (
                    f"another protocol: version {one.fingerprint[other[0]]} of {part}, here is "
                    f"{here[other[0]]}; run it again"
                ),
            )
        usual = standards.options(one.cell.dataset, one.cell.attack)
        if one.status == "done" and usual is not None and options(one) != usual:
            differ = differing(options(one), usual)
            yield named, f"other options: {one.cell.attack} has {differ}"
    yield from _impossible(records)


def _impossible(records: Sequence[Record]) -> Iterator[tuple[Named, str]]:
    """One trained model answers clean images once: whatever attack is scored, the same.

    That an image is right attacked and wrong as it is, no record may say (`Outcome`).
    """
    first: dict[tuple[Named, int, str], Record] = {}
    for one in records:
        other = first.setdefault((_named(one), one.cell.seed, one.query), one)
        if one.outcome is None or other.outcome is None:
            continue
        ours, theirs = (
            each.outcome.clean_before.unpack()[0] for each in (one, other) if each.outcome
        )
        n = min(len(ours), len(theirs))
        flips = int((ours[:n] != theirs[:n]).sum())
        if flips > ROUNDED * n:
            yield (
                _named(one),
                (
                    f"impossible verdicts: {flips} of {n} clean images are told otherwise under "
                    f"{one.cell.attack} than under {other.cell.attack}"
                ),
            )


def _verified(
    records: Sequence[Record], standards: Standards, reference: Sequence[Record],
    refused: set[str],
) -> Iterator[Line]:  # fmt: skip
    done = [one for one in records if one.outcome is not None]
    whole = sum(UNCHECKED not in one.all_flags for one in records)
    yield Line("verified", f"hashes: {whole} of {len(records)} records are as they were written")
    count = sum(one.outcome.n * one.outcome.episodes for one in done if one.outcome)
    yield Line("verified", f"scores: made anew from {count:,} verdicts of {len(done)} records")
    if "impossible verdicts" not in refused:
        yield Line("verified", "verdicts: one model's, none right attacked and wrong as it is")
    if "another protocol" not in refused and any(_says(one, standards) for one in records):
        yield Line("verified", "protocol: the versions of every part are those of here")
    attacks = {(one.cell.dataset, one.cell.attack) for one in done}
    judged = {one for one in attacks if standards.options(*one) is not None}
    if judged and "other options" not in refused:
        yield Line("verified", f"options: of {len(judged)} attacks, all as they are here")
    sizes = sorted({(one.outcome.n, one.cell.episodes) for one in done if one.outcome})
    told = ", ".join(f"{n} x {episodes}" for n, episodes in sizes[:SHOWN])
    yield Line("verified", f"size: n x episodes is {told}; short rows are not ranked")
    queries = {(one.cell.dataset, one.query) for one in reference}
    if done and {(one.cell.dataset, one.query) for one in done} <= queries:
        yield Line("verified", "images: those of the reference, by their hash")


def _says(record: Record, standards: Standards) -> bool:
    return all(name in record.fingerprint for name in standards.versions)


def _trusted(records: Sequence[Record]) -> Iterator[Line]:
    yield Line(
        "trusted",
        "verdicts: that this model gave them; `verify --submission FILE --model MODEL` asks again",
    )
    known = sorted(
        {
            ", ".join(one.trained_on or ["no attack"])
            for one in records
            if one.trained_on is not None
        }
    )
    yield Line("trusted", f"training: {'; '.join(known[:SHOWN]) or 'nobody says on what'}")
    weights = sorted({one.fingerprint.get("weights", "") for one in records} - {""})
    if weights:
        yield Line("trusted", f"weights: by hash {', '.join(weights[:SHOWN])}")


def _missing(
    records: Sequence[Record], audits: Sequence[Audit], standards: Standards,
    reference: Sequence[Record],
) -> Iterator[Line]:  # fmt: skip
    count = Counter(name for one in records for name in PARTS if not one.fingerprint.get(name))
    for name, often in count.items():
        yield Line("missing", f"hash of the {name} in {often} of {len(records)} records")
    silent = sum(not _says(one, standards) for one in records)
    if silent:
        yield Line("missing", f"versions of the protocol in {silent} of {len(records)} records")
    unaudited = sum(audit is None for audit in matched(records, audits))
    if unaudited:
        yield Line("missing", f"audit of the model of {unaudited} of {len(records)} records")
    yield Line(
        "missing",
        "adversarial examples: records hold none; `verify` crafts its own within the budgets",
    )
    for dataset in sorted({one.cell.dataset for one in records}):
        if reference and dataset not in {one.cell.dataset for one in reference}:
            yield Line("missing", f"rows to rank with: the reference has none on {dataset}")
    ours: defaultdict[Named, set[str]] = defaultdict(set)
    for one in records:
        ours[_named(one)].add(one.cell.attack)
    for named, attacks in ours.items():
        wanted = {one.cell.attack for one in reference if one.cell.dataset == named[0]}
        if wanted - attacks:
            yield Line("missing", f"{named[2]}: no {first_few(sorted(wanted - attacks), SHOWN)}")
        if wanted and attacks - wanted:
            what = f"reference under {first_few(sorted(attacks - wanted), SHOWN)}: ranked without"
            yield Line("missing", what)
