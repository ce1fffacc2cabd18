"""The gate: what is worse than the baseline beyond chance, below a floor, flagged anew, or missing.

A cell regressed if it lost more points than the tolerance *and* the exact paired test of
`reports.statistics.paired`, two-sided, gives p < alpha after Holm's correction over all cells
compared. The test keeps noise out: over all cells of a change that alters nothing on average, the
chance of any false alarm is below alpha. The tolerance keeps out what is no noise but no matter:
small true changes, such as another processor's rounding in training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from benchmark.core.errors import UsageError
from reports.statistics.paired import Change, change, holm
from reports.tidy.escape import visible
from reports.tidy.verdicts import CellVerdicts

Verdict = Literal["red", "missing", "improved", "unchanged", "new"]


class Rules(NamedTuple):
    """When a gate closes."""

    tolerance: float = 1.0
    """Points that a cell may lose."""
    alpha: float = 0.01
    """The chance of any false alarm, at most."""
    ratio_tolerance: float = 0.15
    """Share of a performance ratio that may be lost."""


RULES = Rules()


class Judged(NamedTuple):
    """What the gate says of one cell, or of one performance ratio."""

    name: str
    verdict: Verdict
    problems: tuple[str, ...] = ()
    """Why it is red or missing, a line each."""
    change: Change | None = None
    p: float | None = None
    """After Holm's correction."""
    pair: tuple[CellVerdicts, CellVerdicts] | None = None
    ratio: tuple[float, float] | None = None
    """A performance ratio, then and now."""


class Judgement(NamedTuple):
    """All that the gate says."""

    entries: list[Judged]
    rules: Rules

    def those(self, *verdicts: Verdict) -> list[Judged]:
        """The entries with one of these verdicts."""
        return [entry for entry in self.entries if entry.verdict in verdicts]

    @property
    def code(self) -> int:
        """The exit code: 2 something is missing, else 1 something is red, else 0."""
        return 2 if self.those("missing") else 1 if self.those("red") else 0

    def __add__(self, other: Judgement) -> Judgement:  # type: ignore[override]
        return Judgement([*self.entries, *other.entries], self.rules)


def judge(
    before: Mapping[str, CellVerdicts],
    after: Mapping[str, CellVerdicts],
    rules: Rules = RULES,
    floors: Mapping[str, float] | None = None,
) -> Judgement:
    """Judge every cell of the baseline, and say which ones are new.

    Args:
        before: the cells of the baseline by name.
        after: what there is now.
        rules: tolerance and level.
        floors: percent by name or pattern (`*`, `?`) that no cell may fall below, new ones neither.

    Raises:
        UsageError: cells are of other images or draws, or a floor is over no cell.
    """
    shared = [name for name in before if name in after]
    _refuse_other_images([(before[name], after[name]) for name in shared])
    least = _floors(floors or {}, {**before, **after})
    changes = {name: change(before[name].table, after[name].table) for name in shared}
    adjusted = dict(zip(shared, holm([one.p for one in changes.values()]).tolist(), strict=True))
    entries = []
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            entries.append(Judged(name, "missing", ("in the baseline, not in the results",)))
            continue
        now, was = after[name], before.get(name)
        problems = list(_below(now, least.get(name)))
        if was is None:
            entries.append(Judged(name, "red" if problems else "new", tuple(problems)))
            continue
        found, p = changes[name], adjusted[name]
        certain = p < rules.alpha and abs(found.points) > rules.tolerance
        if certain and found.points < 0:
            problems.insert(0, _dropped(found, p))
        problems += _new_flags(was, now)
        verdict: Verdict = "improved" if certain and found.points > 0 else "unchanged"
        verdict = "red" if problems else verdict
        entries.append(Judged(name, verdict, tuple(problems), found, p, (was, now)))
    return Judgement(entries, rules)


def judge_ratios(
    before: Mapping[str, float], after: Mapping[str, float], rules: Rules = RULES
) -> Judgement:
    """The same for performance ratios: red below baseline * (1 - tolerance)."""
    entries = []
    for name in [*before, *(name for name in after if name not in before)]:
        if name not in after:
            problem = "in the baseline, not in the file of benchmarks"
            entries.append(Judged(name, "missing", (problem,)))
        elif name not in before:
            entries.append(Judged(name, "new"))
        else:
            entries.append(_ratio(name, before[name], after[name], rules.ratio_tolerance))
    return Judgement(entries, rules)


def _ratio(name: str, was: float, now: float, tolerance: float) -> Judged:
    least = was * (1 - tolerance)
    problems = (f"ratio {was:.3g} -> {now:.3g}, below {least:.3g}",) if now < least else ()
    better: Verdict = "improved" if now * (1 - tolerance) > was else "unchanged"
    return Judged(name, "red" if problems else better, problems, ratio=(was, now))


def _refuse_other_images(pairs: Sequence[tuple[CellVerdicts, CellVerdicts]]) -> None:
    wrong = [(was, now) for was, now in pairs if not was.pairs_with(now)]
    if wrong:
        was, now = wrong[0]
        raise UsageError(
            f"{len(wrong)} of {len(pairs)} cells are not of the same images: {was.shown} is "
            f"{was.size} in the baseline, {now.size} now; run with the baseline's data, --limit "
            "and --episodes, or write a new baseline with --update"
        )


def _floors(floors: Mapping[str, float], cells: Mapping[str, CellVerdicts]) -> dict[str, float]:
    """The highest floor of each cell that has one."""
    found: dict[str, float] = {}
    for pattern, percent in floors.items():
        words = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
        names = [name for name in cells if re.fullmatch(words, name, re.DOTALL)]
        if not names:
            raise UsageError(
                f"the floor {visible(pattern)} is over no cell; expected the name of a cell, with "
                f"* and ? for anything, such as {next(iter(cells.values())).shown}"
                if cells
                else f"the floor {visible(pattern)} is over no cell: there are none"
            )
        found |= {name: max(percent, found.get(name, 0.0)) for name in names}
    return found


def _below(now: CellVerdicts, floor: float | None) -> Sequence[str]:
    value = 100 * float(now.table.mean())
    if floor is None or value >= floor:
        return ()
    return (f"{value:.1f} % is below the floor of {floor:g} %",)


def _dropped(found: Change, p: float) -> str:
    return (
        f"{100 * found.before:.1f} -> {100 * found.after:.1f} %: {found.points:+.1f} points "
        f"({found.lost} verdicts lost, {found.won} won; p = {p:.2g} after Holm)"
    )


def _new_flags(was: CellVerdicts, now: CellVerdicts) -> list[str]:
    """Flags of a kind that was not there: what follows the colon is a measurement."""
    known = {flag.partition(":")[0] for flag in was.flags}
    return [
        f"new audit flag: {visible(flag, 160)}"
        for flag in now.flags
        if flag.partition(":")[0] not in known
    ]
