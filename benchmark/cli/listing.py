"""`list`: what there is by name, what it needs, and what is unavailable and why."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmark.cli.options import importing
from benchmark.core.errors import unknown

if TYPE_CHECKING:
    from benchmark.core.types import Attack

Row = dict[str, Any]


IN_SHORT = {
    "attacks": ("name", "family", "threat (digits)", "about"),
    "defenses": ("name", "trains on", "about"),
    "datasets": ("name", "shape", "classes", "network", "here"),
    "suites": ("name", "data set", "about"),
}
"""Columns of a list on a terminal; a pipe has all, as has one that is named."""
MIDDLE = 16
"""Letters of a column between the name and the last one, on a terminal."""


def show(what: str, name: str | None, data_dir: Path | None, json: bool) -> None:
    """Print one list, a line a row; or all there is to say of one name; or either as JSON.

    Raises:
        UsageError: no such list, or no such name in it.
    """
    lists: dict[str, Callable[[], list[Row]]] = {
        "attacks": attacks,
        "defenses": defenses,
        "datasets": lambda: datasets(data_dir),
        "networks": networks,
        "recipes": recipes,
        "suites": suites,
    }
    if what not in lists:
        raise unknown("list", what, lists)
    with importing():
        rows = lists[what]()
    if name is not None:
        rows = [row for row in rows if row["name"] == name]
        if not rows:
            known = (row["name"] for row in lists[what]())
            raise unknown(what.removesuffix("s"), name, known, f"list {what}")
    if json:
        print(json_module.dumps({what: rows}))
    elif name is not None:
        _print_one(rows[0])
    else:
        every = tuple(rows[0])
        _print_all(rows, IN_SHORT.get(what, every) if sys.stdout.isatty() else every)


def _print_all(rows: list[Row], columns: tuple[str, ...]) -> None:
    """A line each: a terminal cuts them at its edge, and wide columns before; a pipe nothing."""
    widest = MIDDLE if sys.stdout.isatty() else None
    middle = columns[1:-1]
    table = [columns, *(tuple(_word(row[column]) for column in columns) for row in rows)]
    table = [(name, *(_cut(word, widest) for word in words), last) for name, *words, last in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)][: len(middle) + 1]
    console = Console(emoji=False, highlight=False, width=None if widest else 100_000)
    for place, line in enumerate(table):
        text = "  ".join([*map(str.ljust, line[:-1], widths), line[-1]])
        bold = "" if place else "bold"
        console.print(Text(text, style=bold), no_wrap=True, overflow="ellipsis")


def _cut(word: str, widest: int | None) -> str:
    return word if widest is None or len(word) <= widest else f"{word[: widest - 1]}\u2026"


def _print_one(row: Row) -> None:
    grid = Table(box=None, show_header=False, pad_edge=False)
    for column, value in row.items():
        if value is not None:
            grid.add_row(Text(column, style="bold"), Text(_word(value)))
    Console(emoji=False, highlight=False).print(grid)


def _word(value: Any) -> str:
    """In one line; brackets are options here, not markup."""
    return "" if value is None else " ".join(str(value).split())


def _first_line(component: object) -> str:
    return (component.__doc__ or "").strip().split("\n")[0]


def _only_by_name(attack: type[Attack]) -> str:
    return f" Not in `all`: {attack.only_by_name}." if attack.only_by_name else ""


def _options(built: Attack) -> str:
    from benchmark.core.specs import options_of

    return ", ".join(f"{name}={getattr(built, name)}" for name in options_of(type(built)))


def attacks() -> list[Row]:
    """Every attack with its family and strength on the data sets, then those left out."""
    from attacks import ATTACKS
    from attacks.build import build_attack, strengths_of
    from benchmark.data.catalog import DATASETS

    rows: list[Row] = []
    for name in ATTACKS.names():
        component = ATTACKS.get(name)
        built = build_attack(name, strengths_of("digits"))
        shapes = {facts.shape: dataset for dataset, facts in DATASETS.items()}
        needs = {
            reason
            for shape in shapes
            if (reason := build_attack(name, strengths_of("digits")).cannot_run(shape, 10))
        }
        rows.append(
            {
                "name": name,
                "family": component.family,
                "threat (digits)": str(built.threat),
                "origin": component.origin,
                "needs": "; ".join(sorted(reason.split(",")[0] for reason in needs)) or None,
                "options (digits)": _options(built),
                "about": _first_line(component) + _only_by_name(component),
            }
        )
    for name, reason in sorted(ATTACKS.unavailable.items()):
        rows.append(dict.fromkeys(rows[0]) | {"name": name, "about": f"unavailable: {reason}"})
    return rows


def defenses() -> list[Row]:
    """Every defense with the families it trains on and its options."""
    from attacks.build import strengths_of
    from baselines import DEFENSES
    from baselines.training.warm_start import families
    from benchmark.core.specs import Spec, options_of

    rows: list[Row] = []
    for name in DEFENSES.names():
        component = DEFENSES.get(name)
        options = options_of(component)
        given = (("path", "FILE"),) if "path" in options else ()
        used = families(DEFENSES.build(Spec(name, given)), strengths_of("digits"))
        rows.append(
            {
                "name": name,
                "trains on": "unknown" if used is None else ", ".join(sorted(used)),
                "options": ", ".join(options),
                "about": _first_line(component),
            }
        )
    for name, reason in sorted(DEFENSES.unavailable.items()):
        rows.append(dict.fromkeys(rows[0]) | {"name": name, "about": f"unavailable: {reason}"})
    return rows


def datasets(data_dir: Path | None) -> list[Row]:
    """Every data set with its splits and whether it is here."""
    from baselines.networks.zoo import default_network
    from benchmark.data.catalog import DATASETS
    from benchmark.data.load import unavailable

    return [
        {
            "name": name,
            "shape": "x".join(map(str, facts.shape)),
            "classes": facts.classes,
            "train / validation / test": " / ".join(map(str, facts.sizes)),
            "network": default_network(name, facts.shape),
            "get it by": facts.how_to_get,
            "here": unavailable(name, data_dir) or "yes",
        }
        for name, facts in DATASETS.items()
    ]


def networks() -> list[Row]:
    """Every network."""
    from baselines.networks.zoo import NETWORKS

    return [{"name": name, "about": _first_line(build)} for name, build in NETWORKS.items()]


def recipes() -> list[Row]:
    """Every recipe, for each defense it has."""
    from baselines.build import recipes as all_recipes

    return [
        {
            "name": f"{defense}[recipe={name}]",
            "options": ", ".join(f"{key}={value}" for key, value in options.items()),
        }
        for name, by_defense in all_recipes().items()
        for defense, options in by_defense.items()
    ]


def suites() -> list[Row]:
    """Every named suite."""
    from benchmark.plan.request import suites as all_suites

    return [
        {
            "name": name,
            "data set": suite.dataset,
            "attacks": "; ".join(
                dict.fromkeys(part.attacks or part.sequence or "" for part in suite.parts())
            ),
            "shots": suite.shots,
            "episodes": suite.episodes,
            "about": suite.description,
        }
        for name, suite in all_suites().items()
    ]
