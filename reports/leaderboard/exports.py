"""The leaderboard as Markdown, CSV, LaTeX and JSON: the same lines as the page, for other uses."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from reports.leaderboard.columns import TableCell, cells, columns, several
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


def flat(table: pd.DataFrame) -> pd.DataFrame:
    """A line per row, threat and K, each `..._interval` as `..._low` and `..._high`."""
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
    return pd.DataFrame(found, dtype=object)


def _plain(value: Any) -> Any:
    return value if isinstance(value, list) else None if pd.isna(value) else value


def as_csv(table: pd.DataFrame) -> str:
    """For spreadsheets and scripts; text that a spreadsheet would run as a formula is quoted."""
    lines = flat(table)
    for name in ("tied", "flags"):
        lines[name] = lines[name].map("; ".join)
    text = lines.map(lambda value: spreadsheet(value) if isinstance(value, str) else value)
    return str(text.to_csv(index=False, lineterminator="\n"))


def as_json(table: pd.DataFrame) -> str:
    """`rows` is a line per row, threat and K; what is not known is null."""
    lines = flat(table).to_dict(orient="records")
    content = {"format": FORMAT, "schema_version": SCHEMA, "rows": lines}
    return json.dumps(content, indent=1, allow_nan=False, default=_number) + "\n"


def _number(value: Any) -> Any:
    return value.item()  # NumPy's


def as_markdown(table: pd.DataFrame) -> str:
    """A table per data set and network, over all attacks, columns for each K."""
    parts = ["# Leaderboard: robustness after adaptation, re-attacked\n", f"{TRUST}\n"]
    for (dataset, network), part in _sections(table):
        head, body = _grid(part)
        parts.append(f"## {markdown(dataset)}, {markdown(network)}\n")
        parts.append(
            markdown_table(head, [[markdown(text, 200) for text in row] for row in body], left=2)
        )
        parts += [f"- {markdown(line, 400)}" for line in _remarks(part)] + [""]
    return "\n".join(parts)


def as_latex(table: pd.DataFrame) -> str:
    r"""A tabular (booktabs) per data set and network; names are escaped."""
    parts = [f"% \\usepackage{{booktabs}}\n% {TRUST}\n"]
    for (dataset, network), part in _sections(table):
        head, body = _grid(part)
        parts += [
            f"% {latex(dataset)}, {latex(network)}",
            f"\\begin{{tabular}}{{ll{'r' * (len(head) - 2)}}}",
            "\\toprule",
            *(f"{' & '.join(map(latex, row))} \\\\" for row in (head,)),
            "\\midrule",
            *(f"{' & '.join(map(latex, row))} \\\\" for row in body),
            "\\bottomrule",
            "\\end{tabular}\n",
            *(f"% {latex(line, 400)}" for line in _remarks(part)),
        ]
    return "\n".join(parts)


def _sections(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    for (dataset, network), part in table[table["threat"] == ALL].groupby(
        ["dataset", "network"], sort=False
    ):
        yield (str(dataset), str(network)), part


def _grid(part: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of plain texts: defense and adaptation, then the columns of the page."""
    wanted = [column for column in columns(part) if column.name not in ("defense", "flags")]
    head = ["defense", "adaptation", *(column.label for column in wanted)]
    body = [
        [row.defense, row.adaptation, *(_text(cell) for cell in cells(row.lines[ALL], wanted))]
        for row in _ordered(board_rows(part))
    ]
    return head, body


def _remarks(part: pd.DataFrame) -> Iterator[str]:
    """A line for each reason why rows are not ranked, not counted whole, or doubted."""
    found: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for line in rows(part):
        doubts = [f"flag: {flag}" for flag in line.flags]
        for remark in filter(None, (line.missing, line.note, *doubts)):
            found[remark][line.defense].append(line.shots)
    for remark, names in found.items():
        of = [f"{name} (K = {', '.join(map(str, sorted({*k})))})" for name, k in names.items()]
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
