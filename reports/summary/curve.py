"""Accuracy against one option of an attack, from records: a table, what is wrong with it, files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.core.errors import UsageError
from benchmark.core.specs import Spec, number
from benchmark.results.store import atomic_path, slug
from reports.leaderboard.naming import namings, short_names
from reports.plots.curve import curve_figure
from reports.plots.write import save, styled
from reports.statistics.intervals import Interval
from reports.statistics.monotone import NOISE, rises
from reports.tidy.escape import spreadsheet, visible
from reports.tidy.format import adaptations, percent
from reports.tidy.frame import rows

SIZE = "eps"
"""The option without which an attack changes nothing, and with enough of which nothing is left."""
COLUMNS = (
    "dataset", "network", "defense", "seed", "attack", "adaptation", "shots", "value", "n",
    "episodes", "clean", "clean_low", "clean_high", "robust", "robust_low", "robust_high", "rises",
)  # fmt: skip
"""Accuracies in [0, 1]; `attack` is without the option; `rises`: `statistics.monotone.rises`."""
SERIES = list(COLUMNS[:7])


class Curve(NamedTuple):
    """Accuracy at each value of an option, by growing value within each series."""

    option: str
    table: pd.DataFrame
    """COLUMNS, a row for each point that was scored."""
    remarks: list[str]
    """What is not as it should be, and what that was held to."""
    classes: int | None = None
    """Of the data; None where nobody said."""
    names: Mapping[str, str] = {}
    """What defenses are called in figures."""

    def plot(self) -> Figure:
        """A line for each series, with 95 % intervals, beside clean accuracy and chance."""
        with styled():
            return curve_figure(self.table, self.option, self.classes, self.names)


def curve(
    frame: pd.DataFrame, option: str, classes: int | None = None, ordered: bool = True
) -> Curve:
    """The curves in a tidy frame: attacks that are one but for `option`.

    Args:
        frame: see `reports.tidy.frame`.
        option: of attacks, a number.
        classes: of the data: 1 / classes is the accuracy of chance.
        ordered: whether a larger value must break at least as many images.

    Raises:
        UsageError: no attack there has the option.
    """
    named = [without(name, option) for name in frame["attack"]]
    points = frame.assign(
        attack=[name for name, _ in named],
        value=pd.Series([value for _, value in named], index=frame.index, dtype="float64"),
        adaptation=adaptations(frame),
    )  # fmt: skip
    points = points[points["value"].notna()].sort_values("value", kind="stable")
    if not len(points):
        raise UsageError(f"no attack here has the option {option!r} with a number in it")
    done = points[points["status"] == "done"]
    parts = [part for _, part in done.groupby(SERIES, sort=False)]
    lines = [
        f"{row.status}: {visible(row.attack)}, {option} = {row.value:g}: {visible(row.reason, 200)}"
        for row in rows(points[points["status"] != "done"])
    ]
    flagged = [_rises(part) if ordered else {} for part in parts]
    for part, found in zip(parts, flagged, strict=True):
        lines += [f"not monotone: {_name(part)}, {option}: {text}" for text in found.values()]
        lines += _chance(part, option, classes)
    if ordered and parts and not any(flagged):
        lines.append(
            f"monotone: no value leaves more standing than a smaller one beyond the paired noise "
            f"(exact McNemar test on the same images, p < {NOISE:g})"
        )
    tables = [_flat(part, set(found)) for part, found in zip(parts, flagged, strict=True)]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    return Curve(option, table, lines, classes, short_names(namings(frame)))


def without(attack: str, option: str) -> tuple[str, float | None]:
    """An attack's name without an option, and its value; None where it has none, or no number.

    >>> without("pgd_linf[eps=8/255,steps=4]", "steps")
    ('pgd_linf[eps=8/255]', 4.0)
    """
    spec = Spec.parse(attack)
    try:
        value = number(dict(spec.options)[option])
    except (KeyError, ValueError, ZeroDivisionError):
        return attack, None
    return str(Spec(spec.name, tuple(one for one in spec.options if one[0] != option))), value


def _rises(part: pd.DataFrame) -> dict[int, str]:
    """By place in the series, what is said of a point that should not be so high."""
    points = rows(part)
    found = [row.verdicts.robust for row in points]
    episodes, n = (min(table.shape[axis] for table in found) for axis in (0, 1))
    return {
        one.place: f"{100 * one.change.after:.1f} % stand at {points[one.place].value:g}, "
        f"{100 * one.change.before:.1f} % at {points[one.before].value:g} "
        f"({one.change.won} won, {one.change.lost} lost, p = {one.change.p:.2g}): more of it must "
        "not break fewer"
        for one in rises([table[:episodes, :n] for table in found])
    }


def _chance(part: pd.DataFrame, option: str, classes: int | None) -> Iterator[str]:
    """Without bound an attack can erase the image: then nobody is right more often than chance."""
    last = rows(part)[-1]
    if option == SIZE and classes and last.robust_interval[0] > 1 / classes:
        yield (
            f"chance not reached: {_name(part)}: {percent(last.robust, last.robust_interval)} % "
            f"stand at {option} = {last.value:g}, the largest asked; chance is "
            f"{100 / classes:.1f} %: ask for a larger one, or doubt the attack"
        )


def _name(part: pd.DataFrame) -> str:
    row = part.iloc[0]
    budget = f"K = {row.shots}" + (f" ({row.adaptation})" if row.shots else "")
    return f"{visible(row.defense)}, {visible(row.attack)}, {budget}"


def _flat(part: pd.DataFrame, risen: set[int]) -> pd.DataFrame:
    ends = {
        f"{name}_{end}": [pair[place] for pair in part[f"{name}_interval"]]
        for name in ("clean", "robust")
        for place, end in enumerate(("low", "high"))
    }
    flags = [place in risen for place in range(len(part))]
    return part.assign(**ends, rises=flags)[list(COLUMNS)]


def grids(found: Curve) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """For each defense and attack a title, headings, and a line for each value, as text."""
    by = ["dataset", "network", "defense", "seed", "attack"]
    for key, part in found.table.groupby(by, sort=False):
        series = list(dict.fromkeys(zip(part["adaptation"], part["shots"], strict=True)))
        several = len({one for one, shots in series if shots}) > 1
        heads = [found.option, "n"]
        for adaptation, shots in series:
            more = f"\n{adaptation}" if several and shots else ""
            heads += [f"clean@{shots}{more}", f"robust@{shots} (95%){more}"]
        title = f"{', '.join(visible(str(name)) for name in key[:3])}: {visible(str(key[4]))}"
        yield title, heads, [_line(part, value, series) for value in sorted({*part["value"]})]


def _line(part: pd.DataFrame, value: float, series: Sequence[tuple[str, int]]) -> list[str]:
    mine = {(row.adaptation, row.shots): row for row in rows(part[part["value"] == value])}
    texts = [f"{value:.4g}", str(next(iter(mine.values())).n)]
    for key in series:
        row = mine.get(key)
        texts += ["", ""] if row is None else [percent(row.clean), _robust(row)]
    return texts


def _robust(row: Any) -> str:
    mark = " !" if row.rises else ""
    return percent(row.robust, Interval(row.robust_low, row.robust_high)) + mark


def print_grid(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """One of `grids`, on standard output."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        grid.add_column(Text(head), justify="right", no_wrap=True)
    for line in lines:
        grid.add_row(*map(Text, line))
    console = Console(emoji=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    console.print(Text(title, style="bold"))
    console.print(grid)


def as_json(found: Curve) -> Mapping[str, Any]:
    """For `--json`: the points, plain values, and the remarks."""
    points = [
        {name: value.item() if hasattr(value, "item") else value for name, value in one.items()}
        for one in found.table.to_dict(orient="records")
    ]
    return {"option": found.option, "points": points, "remarks": found.remarks}


def write_curve(found: Curve, out: Path) -> list[Path]:
    """Write `curve-NAME.csv`, .png and .svg, NAME being the option, the data set and the attacks.

    Raises:
        UsageError: `out` cannot be written.
    """
    first = found.table.iloc[0]
    attacks = "+".join(dict.fromkeys(found.table["attack"]))
    stem = out / f"curve-{slug(found.option)}-{slug(first.dataset)}-{slug(attacks)}"
    path = stem.with_name(f"{stem.name}.csv")
    text = found.table.map(lambda value: spreadsheet(value) if isinstance(value, str) else value)
    with atomic_path(path) as temporary:
        text.to_csv(temporary, index=False, lineterminator="\n")
    with styled():
        figure = curve_figure(found.table, found.option, found.classes, found.names)
        return [path, *save(figure, stem)]
