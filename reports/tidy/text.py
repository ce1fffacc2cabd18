"""Names and numbers as text. Names come from users: they are never trusted to be harmless."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from reports.statistics.intervals import Interval
from reports.tidy.frame import rows

WIDEST = 60
_MARKS = re.compile(r"([\\`*~\[\]|$#])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")
_EN_DASH = "\u2013"
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def visible(name: str, widest: int = WIDEST) -> str:
    r"""One line with nothing hidden: control and direction characters as codes, the middle cut.

    >>> visible("a\nb\u202ec")
    'a\\u000ab\\u202ec'
    """
    shown = "".join(
        f"\\u{ord(char):04x}" if unicodedata.category(char)[0] in "CZ" and char != " " else char
        for char in name
    )
    if len(shown) <= widest:
        return shown
    return f"{shown[: widest - widest // 3 - 1]}…{shown[-(widest // 3) :]}"


def markdown(name: str, widest: int = WIDEST) -> str:
    r"""`visible`, with what Markdown or HTML would interpret escaped.

    >>> markdown("<b>|pgd_l2[eps=1]")
    '&lt;b&gt;\\|pgd_l2\\[eps=1\\]'
    """
    escaped = _MARKS.sub(lambda match: "\\" + match[0], visible(name, widest))
    return "".join(_ENTITIES.get(char, char) for char in escaped)


def adaptations(table: pd.DataFrame) -> list[str]:
    """For each line of `table`, how the model adapts; steps and rate only if they tell lines apart.

    "none" where it does not adapt.
    """
    fields = ("dataset", "network", "defense", "shots", "method", "knowledge")
    budgets = table[[*fields, "steps", "lr"]].drop_duplicates()
    alone = ~budgets.duplicated([*fields], keep=False).any()
    return [
        "none" if not row.shots
        else f"{row.method}, {row.knowledge}" if alone
        else f"{row.method}, {row.knowledge}, {row.steps} steps, lr {row.lr:g}"
        for row in rows(table)
    ]  # fmt: skip


def percent(value: Any, ends: Interval | None = None, signed: bool = False) -> str:
    """`41.2`, `41.2 (38.0-44.1)` or `+3.1 (-0.2 to +5.9)`; empty where there is no value."""
    if pd.isna(value):
        return ""
    form = "{:+.1f}" if signed else "{:.1f}"
    number = form.format(100 * value)
    if ends is None:
        return number
    low, high = (form.format(100 * end) for end in ends)
    return f"{number} ({low}{' to ' if signed else _EN_DASH}{high})"


def drawable(name: str, widest: int = WIDEST) -> str:
    r"""`visible`, with characters that the plots' font may lack as codes.

    >>> drawable("\u4e2d")
    '\\u4e2d'
    """
    return visible(name, widest).encode("cp1252", "backslashreplace").decode("cp1252")


def grid(head: Sequence[str], body: Iterable[Sequence[str]], left: int) -> str:
    """A Markdown table whose first `left` columns are text; the cells are escaped already."""
    rule = ["---" if place < left else "--:" for place in range(len(head))]
    table = (head, rule, *body)
    return "".join(f"| {' | '.join(row)} |\n" for row in table)


_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&",
    "$": r"\$", "#": r"\#", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\N{EN DASH}": "--", "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip


def latex(name: str, widest: int = WIDEST) -> str:
    r"""`visible`, with what LaTeX would interpret escaped and what its fonts may lack as codes.

    >>> print(latex("50% of pgd_l2 & \\input{x}"))
    50\% of pgd\_l2 \& \textbackslash{}input\{x\}
    """
    shown = visible(name, widest)
    return "".join(
        _LATEX.get(char) or (char if char.isascii() else f"U+{ord(char):04X}") for char in shown
    )


def spreadsheet(text: str) -> str:
    """Text that a spreadsheet shows and does not run: a formula gets an apostrophe.

    https://owasp.org/www-community/attacks/CSV_Injection

    >>> spreadsheet("=1+1"), spreadsheet("pgd_linf")
    ("'=1+1", 'pgd_linf')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else text
