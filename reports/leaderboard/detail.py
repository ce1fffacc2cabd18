"""What a row of the leaderboard page opens to: curves, attacks, pictures, settings, provenance."""

from __future__ import annotations

import json
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from reports.leaderboard.chart import curves
from reports.leaderboard.columns import several
from reports.leaderboard.images import Album
from reports.leaderboard.rows import BoardRow, of_row
from reports.leaderboard.threats import ALL
from reports.tidy.escape import visible
from reports.tidy.format import percent
from reports.tidy.sources import Sourced


class Heat(NamedTuple):
    """A square of the heat map: the text, its shade from 0 to 10, and the interval."""

    text: str
    shade: int | None = None
    interval: str = ""


Square = tuple[float, float, float] | str | None
"""In percent the value and both ends of its interval; a status; or nothing."""


class AttackLine(NamedTuple):
    """An attack of the heat map, which the page's script draws.

    Squares are robust@0, then static and robust for each K.
    """

    attack: int
    """Its place in the list of attacks of the table."""
    scope: str
    n: str
    squares: tuple[Square, ...]


class ClassLine(NamedTuple):
    """A class of the images, with clean@K, robust@0, static@K and robust@K of the largest K."""

    name: str
    n: str
    squares: tuple[Heat, ...]


class Detail(NamedTuple):
    """What a row opens to; texts are raw: the page escapes them."""

    curves: str
    """JSON of `chart.curves`."""
    heat: str
    """JSON: the K that are not 0, then the `AttackLine`s."""
    classes: tuple[ClassLine, ...]
    """Empty where nobody brought the labels."""
    album: Album
    notes: tuple[str, ...]
    """What is missing, whom no test tells apart, and reasons for doubt."""
    facts: tuple[tuple[str, str], ...]
    """Settings and provenance, by name."""
    command: str


def detail(
    row: BoardRow, attacks: Sequence[Any], places: Mapping[str, int], classes: Sequence[Any],
    album: Album, sources: Sequence[Sourced],
) -> Detail:  # fmt: skip
    """Of one row.

    Args:
        row: the row.
        attacks: the lines of `headline.per_attack` of its defense, K = 0 and its adaptation.
        places: of each attack in the list of its table.
        classes: the rows of `classes.by_class` of its largest K.
        album: its pictures.
        sources: the records of its defense.
    """
    lines = row.lines[ALL]
    shots = tuple(sorted({k for k in lines if k} | {line.shots for line in attacks if line.shots}))
    mine = of_row(row, sources)
    return Detail(
        curves(lines), _heat_map(attacks, places, shots),
        tuple(_class_line(line) for line in classes), album, tuple(_notes(lines)),
        tuple(_facts(mine)), command(row, mine),
    )  # fmt: skip


def _heat_map(attacks: Sequence[Any], places: Mapping[str, int], shots: Sequence[int]) -> str:
    found = [shots, [*_attack_lines(attacks, places, shots)]]
    return json.dumps(found, separators=(",", ":"))


def _attack_lines(
    attacks: Sequence[Any], places: Mapping[str, int], shots: Sequence[int]
) -> Iterator[AttackLine]:
    by_attack: defaultdict[str, dict[int, Any]] = defaultdict(dict)
    for line in attacks:
        by_attack[line.attack][line.shots] = line
    for name, found in by_attack.items():
        one = next(iter(found.values()))
        squares = [_square(found.get(0), "robust")]
        for k in shots:
            squares += [_square(found.get(k), "static"), _square(found.get(k), "robust")]
        sizes = sorted({str(line.n) for line in found.values() if not pd.isna(line.n)}, key=int)
        yield AttackLine(places[name], one.scope, ", ".join(sizes), tuple(squares))


def _square(line: Any, name: str) -> Square:
    if line is None:
        return None
    value = getattr(line, name)
    if pd.isna(value):
        return str({"missing": "not run"}.get(line.status, line.status))
    low, high = getattr(line, f"{name}_interval")
    return round(100 * value, 1), round(100 * low, 1), round(100 * high, 1)


def _class_line(line: Any) -> ClassLine:
    names = ("clean", "robust_before", "static", "robust")
    return ClassLine(str(line.label), str(line.n), tuple(_heat(line, name) for name in names))


def _heat(line: Any, name: str) -> Heat:
    value = getattr(line, name)
    ends = getattr(line, f"{name}_interval")
    return Heat(percent(value), round(10 * value), f"{percent(ends.low)} to {percent(ends.high)}")


def _notes(lines: Mapping[int, Any]) -> Iterator[str]:
    for k, line in sorted(lines.items()):
        if line.missing:
            yield f"K = {k} is {'' if line.status == 'done' else 'incomplete: '}{line.missing}"
        if line.note:
            yield f"K = {k} is {line.note}"
        if line.tied:
            yield f"at K = {k} no paired test tells it from {several(line.tied)}"
    for flag in sorted({flag for line in lines.values() for flag in line.flags}):
        yield f"flag: {visible(flag, 160)}"


def _facts(sources: Sequence[Sourced]) -> Iterator[tuple[str, str]]:
    """Settings and provenance, each value once, in the order of its appearance."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for one in sources:
        record, provenance = one.record, one.record.provenance
        found["in results"][record.cell.defense] = None
        trained_on = "unknown" if record.trained_on is None else ", ".join(record.trained_on)
        found["trained on"][trained_on or "no attack"] = None
        found["defense options"][_options(provenance.defense_options)] = None
        found["adaptation"][_options(provenance.adaptation)] = None
        for one_draw in record.outcome.inferred[:1] if record.outcome else []:
            of = f"{record.cell.attack}, K = {record.cell.budget.shots}"
            found["inferred"][f"{of}, first draw: {one_draw}"] = None
        found["commit"][provenance.commit or ""] = None
        found["versions"][_options(provenance.versions)] = None
        found["device"][provenance.device] = None
        found["created"][provenance.created] = None
        found["weights"][record.fingerprint.get("weights", "")] = None
        found["made by"][provenance.command] = None
        found["read from"][one.path.name if one.path.suffix == ".gz" else ""] = None
    for name, values in found.items():
        shown = [visible(value, 400) for value in values if value]
        if name == "created":
            shown = [" to ".join(dict.fromkeys((min(shown), max(shown))))]
        if shown:
            yield name, "; ".join(shown[:8])


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


def command(row: BoardRow, sources: Sequence[Sourced]) -> str:
    """The `run` that makes all cells of a row again."""
    cells = [one.record.cell for one in sources if not one.record.cell.shown]
    budgets = [cell.budget for cell in cells if cell.budget.adapts]
    attacks = ",".join(dict.fromkeys(sorted(cell.attack for cell in cells)))
    words = ["python", "-m", "benchmark", "run", "--defense", row.defense, "--attacks", attacks]
    words += ["--dataset", row.dataset, "--network", row.network]
    words += ["--shots", _list(cell.budget.shots for cell in cells)]
    words += ["--episodes", str(max((cell.episodes for cell in cells), default=1))]
    words += ["--seeds", _list(cell.seed for cell in cells)]
    if budgets:
        words += ["--adapt", budgets[0].method, "--knowledge", budgets[0].knowledge]
        words += ["--adapt-steps", str(budgets[0].steps)]
        words += ["--adapt-lr", str(budgets[0].lr)] if budgets[0].lr else []
    limits = {cell.limit for cell in cells if cell.limit is not None}
    words += ["--limit", str(max(limits))] if limits else []
    return visible(shlex.join(words), 4000)


def _list(numbers: Any) -> str:
    return ",".join(str(number) for number in sorted(set(numbers)))
