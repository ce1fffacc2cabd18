"""The leaderboard as Markdown, CSV, LaTeX and JSON: the same lines as the page, for other uses."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.leaderboard.columns import ALWAYS, DEFAULT, TableCell, cells, columns, several
from reports.leaderboard.naming import Naming, tied_names
from reports.leaderboard.rows import BoardRow, board_rows
from reports.leaderboard.table import COLUMNS
from reports.leaderboard.threats import ALL
from reports.tidy.escape import latex, markdown, spreadsheet
from reports.tidy.format import markdown_table
from reports.tidy.frame import rows

FORMAT = "reattack-leaderboard"
SCHEMA = 1
TRUST = (
    "Scores are recomputed from the verdicts in records; the verdicts of others are taken on trust."
)


Names = Mapping[str, Naming]
"""How each defense is shown, by its name in the column `defense`."""
ABOUT = ("authors", "year", "paper", "link", "summary")


def flat(table: pd.DataFrame, names: Names) -> pd.DataFrame:
    """A line per row, threat and K, each `..._interval` as `..._low` and `..._high`.

    Then `name`, what the row is called where people read, and what its defense says of itself.
    """
    found: dict[str, list[Any]] = {}
    for name in (*COLUMNS, "adaptation"):
        values = table[name].tolist()
        if name.endswith("_interval"):
            for place, end in enumerate(("low", "high")):
                found[f"{name.removesuffix('_interval')}_{end}"] = [
                    pair[place] if isinstance(pair, tuple) else None for pair in values
                ]
        else:
            found[name] = [_plain(value) for value in values]
    found["tied"] = [*map(tied_names, found["tied"], found["network"])]
    shown = [names[defense] for defense in table["defense"]]
    found["name"] = [one.name for one in shown]
    found |= {name: [getattr(one.about, name) for one in shown] for name in ABOUT}
    found["link"] = [one.link for one in shown]
    return pd.DataFrame(found, dtype=object)


def _plain(value: Any) -> Any:
    return value if isinstance(value, list) else None if pd.isna(value) else value


def as_csv(table: pd.DataFrame, names: Names, chosen: Sequence[str] | None = None) -> str:
    """For spreadsheets and scripts; text that a spreadsheet would run as a formula is quoted.

    With `chosen` keys of columns, only these beside what says which row it is.
    """
    lines = flat(table, names)
    if chosen is not None:
        lines = lines[[name for name in lines if _is_chosen(str(name), chosen)]]
    for name in {"tied", "flags"} & {*lines}:
        lines[name] = lines[name].map("; ".join)
    text = lines.map(lambda value: spreadsheet(value) if isinstance(value, str) else value)
    return str(text.to_csv(index=False, lineterminator="\n"))


KEY = (
    "dataset", "network", "defense", "name", "threat", "shots", "adaptation", "status", "missing",
)  # fmt: skip
_OF = {"size": ("n", "episodes", "seeds"), "before": ("robust_before",), "worst": ("worst_family",)}


def _is_chosen(name: str, chosen: Sequence[str]) -> bool:
    stem = name.removesuffix("_low").removesuffix("_high")
    wanted = {*KEY, *ALWAYS, *chosen, *(part for key in chosen for part in _OF.get(key, ()))}
    return stem in wanted or (name.startswith("rank_") and "rank" in wanted)


def as_json(table: pd.DataFrame, names: Names) -> str:
    """`rows` is a line per row, threat and K; what is not known is null."""
    lines = flat(table, names).to_dict(orient="records")
    content = {"format": FORMAT, "schema_version": SCHEMA, "rows": lines}
    return json.dumps(content, indent=1, allow_nan=False, default=_number) + "\n"


def _number(value: Any) -> Any:
    return value.item()  # NumPy's


def as_markdown(table: pd.DataFrame, names: Names, chosen: Sequence[str] = DEFAULT) -> str:
    """A table per data set, over all attacks, the chosen columns for each K."""
    parts = ["# Leaderboard: robustness after adaptation, re-attacked\n", f"{TRUST}\n"]
    for dataset, part in _sections(table):
        head, body = _grid(part, names, chosen)
        parts.append(f"## {markdown(dataset)}\n")
        parts.append(
            markdown_table(head, [[markdown(text, 200) for text in row] for row in body], left=2)
        )
        said = [*_remarks(part, names), *_sources(part, names)]
        parts += [f"- {markdown(line, 600)}" for line in said] + [""]
    return "\n".join(parts)


def as_latex(table: pd.DataFrame, names: Names, chosen: Sequence[str] = DEFAULT) -> str:
    r"""A tabular (booktabs) per data set; names are escaped."""
    parts = [f"% \\usepackage{{booktabs}}\n% {TRUST}\n"]
    for dataset, part in _sections(table):
        head, body = _grid(part, names, chosen)
        parts += [
            f"% {latex(dataset)}",
            f"\\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
            "\\toprule",
            *(f"{' & '.join(map(latex, row))} \\\\" for row in (head,)),
            "\\midrule",
            *(f"{' & '.join(map(latex, row))} \\\\" for row in body),
            "\\bottomrule",
            "\\end{tabular}\n",
            *(f"% {latex(line, 600)}" for line in _remarks(part, names)),
            *(f"% {latex(line, 600)}" for line in _sources(part, names)),
        ]
    return "\n".join(parts)


def _sections(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for dataset, part in table[table["threat"] == ALL].groupby("dataset", sort=False):
        yield str(dataset), part


def _grid(
    part: pd.DataFrame, names: Names, chosen: Sequence[str]
) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of plain texts: defense, network, adaptation, then the chosen columns."""
    keys = {*ALWAYS, *chosen} - {"defense", "network", "curve"}
    wanted = [column for column in columns(part) if column.key in keys]
    on = ["network"] * ("network" in chosen)
    head = ["defense", *on, "adaptation", *(column.label for column in wanted)]
    body = [
        [
            names[row.defense].name, *(getattr(row, name) for name in on), row.adaptation,
            *(_text(cell) for cell in cells(row.lines[ALL], wanted)),
        ]
        for row in _ordered(board_rows(part))
    ]  # fmt: skip
    return head, body


def _sources(part: pd.DataFrame, names: Names) -> Iterator[str]:
    """A line for each defense: as `run` takes it, who made it, and where that is written."""
    for defense in dict.fromkeys(part["defense"]):
        named = names[defense]
        told = [defense, named.about.summary, named.source, named.about.paper, named.link]
        said = [text for text in told if text and text != named.name]
        if said:
            yield f"{named.name}: {'; '.join(said)}"


def _remarks(part: pd.DataFrame, names: Names) -> Iterator[str]:
    """A line for each reason why rows are not ranked, not counted whole, or doubted."""
    found: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    several_networks = part["network"].nunique() > 1
    for line in rows(part):
        doubts = [f"flag: {flag}" for flag in line.flags]
        called = names[line.defense].name + (f", {line.network}" if several_networks else "")
        for remark in filter(None, (line.missing, line.note, *doubts)):
            found[remark][called].append(line.shots)
    for remark, rows_of in found.items():
        of = [f"{name} (K = {', '.join(map(str, sorted({*k})))})" for name, k in rows_of.items()]
        yield f"{remark}: {several(of)}"


def _ordered(rows: Sequence[BoardRow]) -> list[BoardRow]:
    def place(row: BoardRow) -> tuple[bool, int]:
        rank = row.adapted.rank
        return pd.isna(rank), 0 if pd.isna(rank) else int(rank)

    return sorted(rows, key=place)


def _text(cell: TableCell) -> str:
    if cell.hole:
        return f"incomplete: {cell.hole}"
    return f"{cell.text} ({cell.interval})" if cell.interval else cell.text
