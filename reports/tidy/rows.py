"""Which cells belong to one row of a table, and which of them are missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import pandas as pd

from benchmark.results.cells import ADAPTIVE
from reports.statistics.scores import Over, Tables, common_prefix, stack
from reports.tidy.escape import visible
from reports.tidy.frame import rows

Scope = Literal["all", "unseen", "seen", "unknown"]

FAMILIES = (
    "linf-gradient", "l2-gradient", "l1-gradient", "sparse", "transfer", "score-based",
    "decision-based", "spatial", "colour", "frequency", "corruption", "patch", "noise",
)  # fmt: skip
"""The order of families in tables and plots; families not named here come last."""


def by_family(family: str) -> tuple[int, str]:
    """Sort key for families."""
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES), family


class Key(NamedTuple):
    """What a row is about: a trained defense and what it may adapt with.

    Where nothing adapts, `method` is "none", `knowledge` is "" and the numbers are 0.
    """

    dataset: str
    network: str
    defense: str
    shots: int
    method: str
    knowledge: str
    steps: int
    lr: float


class Slot(NamedTuple):
    """Where a cell stands in its row."""

    attack: str
    seed: int


class Size(NamedTuple):
    """Of the verdicts under each attack."""

    n: int
    episodes: int
    seeds: int

    def __str__(self) -> str:
        seeds = f" x {self.seeds} seeds" if self.seeds > 1 else ""
        return f"{self.n} images x {self.episodes} episodes{seeds}"


@dataclass(frozen=True)
class ResultRow:
    """The cells a row should have, and those it has (rows of the tidy frame)."""

    key: Key
    scope: Scope
    expected: tuple[Slot, ...]
    cells: dict[Slot, Any]
    families: dict[str, str]
    """The family of every attack, also of those with no cell here."""

    @cached_property
    def strangers(self) -> dict[Slot, str]:
        """The done cells that do not belong with the others, and why: they count as missing.

        Verdicts on other images pair with nothing; one seed has one model, one attack one strength.
        """
        done = {slot: cell for slot, cell in self.cells.items() if cell.status == "done"}
        query = _usual(cell.query for cell in done.values())
        found = {
            slot: "scored on other images" for slot, cell in done.items() if cell.query != query
        }
        for why, part, name in (
            ("scored on another model", "seed", "weights"),
            ("scored with other options", "attack", "options"),
        ):
            groups: defaultdict[Any, list[str]] = defaultdict(list)
            for slot, cell in done.items():
                groups[getattr(slot, part)].append(getattr(cell, name))
            usual = {key: _usual(values) for key, values in groups.items()}
            for slot, cell in done.items():
                if getattr(cell, name) != usual[getattr(slot, part)]:
                    found.setdefault(slot, why)
        return found

    @cached_property
    def scored(self) -> dict[Slot, Any]:
        """The done cells that belong together."""
        return {
            slot: cell for slot, cell in self.cells.items()
            if cell.status == "done" and slot not in self.strangers
        }  # fmt: skip

    @cached_property
    def size(self) -> Size:
        """What all expected cells of a complete row have, and is counted."""
        shapes = [self.scored[slot].verdicts.static.shape for slot in self.expected]
        seeds = len({slot.seed for slot in self.expected})
        return Size(min(n for _, n in shapes), min(e for e, _ in shapes), seeds)

    @property
    def cut(self) -> str:
        """What a complete row leaves out of some cells, and for whose sake; empty for nothing."""
        parts = []
        for what, axis, least in (("images", 1, self.size.n), ("episodes", 0, self.size.episodes)):
            sizes = {p: self.scored[p].verdicts.static.shape[axis] for p in self.expected}
            if max(sizes.values()) > least:
                short = {slot.attack for slot, size in sizes.items() if size == least}
                parts.append(
                    f"{least} of {max(sizes.values())} {what}: {visible(min(short), 40)}"
                    f"{f' and {len(short) - 1} more attacks' if len(short) > 1 else ''} "
                    f"ha{'ve' if len(short) > 1 else 's'} no more"
                )
        return f"counted on {'; '.join(parts)}" if parts else ""

    @property
    def complete(self) -> bool:
        """Whether there are expected cells and all of them are scored."""
        return bool(self.expected) and set(self.expected) <= set(self.scored)

    @property
    def status(self) -> str:
        """done, or what is in the way: failed, missing or skipped."""
        if self.complete:
            return "done"
        found = {cell.status for cell in self.cells.values()}
        if "failed" in found:
            return "failed"
        return "skipped" if found == {"skipped"} else "missing"

    def attacks(self) -> dict[str, Tables]:
        """By attack, the verdicts of its seeds (seeds, episodes, n), cut to what all have."""
        cut = common_prefix([self.scored[slot].verdicts for slot in self.expected])
        by_attack: defaultdict[str, list[Tables]] = defaultdict(list)
        for slot, tables in zip(self.expected, cut, strict=True):
            by_attack[slot.attack].append(tables)
        return {attack: stack(seeds) for attack, seeds in by_attack.items()}

    def counted(self, over: Over) -> dict[str, Tables]:
        """`attacks`, but for a mean over families those alone that every row has, if any."""
        found = self.attacks()
        shared = {name: tables for name, tables in found.items() if is_shared(name)}
        return found if over == "union" else shared or found

    def by_attack(self) -> Iterator[tuple[str, ResultRow]]:
        """The row's attacks one by one, skipped ones included; by family, then name."""
        names = {slot.attack for slot in (*self.expected, *self.cells)}
        for name in sorted(names, key=lambda name: (by_family(self.families[name]), name)):
            yield name, self.only({name})

    def only(self, attacks: set[str], scope: Scope | None = None) -> ResultRow:
        """The same row over fewer attacks."""
        return replace(
            self,
            scope=scope or self.scope,
            expected=tuple(slot for slot in self.expected if slot.attack in attacks),
            cells={slot: cell for slot, cell in self.cells.items() if slot.attack in attacks},
        )


def result_rows(frame: pd.DataFrame) -> list[ResultRow]:
    """Every row over all attacks, then over the unseen, seen and unknown ones it has.

    Of cells in which the defender was shown the scored attack; the others are
    `reports.tidy.sequences`'.

    A row should have every attack that some row of the same data set, network and shots has done
    or failed, for each of its own seeds. An attack skipped everywhere cannot run there: no hole.
    """
    frame = frame[frame["shown"] == ""]
    cells = _by_key(frame)
    expected: defaultdict[tuple[str, str, int], set[str]] = defaultdict(set)
    for key, found in cells.items():
        names = {slot.attack for slot, cell in found.items() if cell.status != "skipped"}
        expected[key.dataset, key.network, key.shots] |= set(filter(is_shared, names))
    families = dict(zip(frame["attack"], frame["family"], strict=True))
    result = []
    for key, found in cells.items():
        seeds = sorted({slot.seed for slot in found})
        own = {slot.attack for slot in found if not is_shared(slot.attack)}
        names = expected[key.dataset, key.network, key.shots] | own
        slots = tuple(Slot(name, seed) for name in sorted(names) for seed in seeds)
        row = ResultRow(key, "all", slots, found, families)
        result += [row, *_scopes(row)]
    return result


def is_shared(attack: str) -> bool:
    """Whether an attack is one for all; those that a defense brings count in its union alone."""
    return not attack.startswith(ADAPTIVE)


def _by_key(frame: pd.DataFrame) -> dict[Key, dict[Slot, Any]]:
    """One cell a slot, the best scored: a folder may hold a quick run beside a full one."""
    cells: defaultdict[Key, dict[Slot, Any]] = defaultdict(dict)
    for cell in sorted(rows(frame), key=evidence):
        cells[key_of(cell)][Slot(cell.attack, cell.seed)] = cell
    order = {name: place for place, name in enumerate(dict.fromkeys(frame["defense"]))}

    def position(key: Key) -> tuple[Any, ...]:
        return key.dataset, key.network, order[key.defense], bool(key.shots), key[4:], key.shots

    return {key: cells[key] for key in sorted(cells, key=position)}


def key_of(cell: Any) -> Key:
    """Of a row of the tidy frame."""
    trained = cell.dataset, cell.network, cell.defense
    budget = cell.shots, cell.method, cell.knowledge, cell.steps, cell.lr
    return Key(*trained, *(budget if cell.adapts else (0, "none", "", 0, 0.0)))


def _usual(values: Iterable[str]) -> str:
    """The most frequent value; of equally many the last in order, so that this is no chance."""
    found = Counter(values)
    return max(found, key=lambda value: (found[value], value), default="")


def evidence(cell: Any) -> tuple[bool, int, int]:
    """Sort key: of several cells in one slot, the last is the one scored best."""
    return cell.status == "done", 0 if pd.isna(cell.n) else cell.n, cell.episodes


def _scopes(row: ResultRow) -> Iterable[ResultRow]:
    names = {slot.attack for slot in (*row.expected, *row.cells)}
    unseen = {slot.attack: cell.unseen for slot, cell in row.cells.items()}
    trained_on = next(iter(row.cells.values())).trained_on
    for name in names - set(unseen):  # a missing cell: what the others of its defense say
        unseen[name] = None if trained_on is None else row.families[name] not in trained_on
    found: defaultdict[Scope, set[str]] = defaultdict(set)
    for name, value in unseen.items():
        found["unknown" if pd.isna(value) else "unseen" if value else "seen"].add(name)
    return [row.only(found[scope], scope) for scope in get_args(Scope) if found[scope]]
