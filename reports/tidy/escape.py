"""Names as text, escaped: they come from users and are never trusted to be harmless."""

from __future__ import annotations

import re
import unicodedata

WIDEST = 60
"""Letters of a name that are shown."""
_MARKS = re.compile(r"([\\`*~\[\]|$#])|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "%": r"\%", "&": r"\&",
    "$": r"\$", "#": r"\#", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "\N{EN DASH}": "--", "\N{ALMOST EQUAL TO}": r"$\approx$",
    "\N{HORIZONTAL ELLIPSIS}": r"\ldots{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
}  # fmt: skip


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


def drawable(name: str, widest: int = WIDEST) -> str:
    r"""`visible`, with characters that the plots' font may lack as codes.

    >>> drawable("\u4e2d")
    '\\u4e2d'
    """
    return visible(name, widest).encode("cp1252", "backslashreplace").decode("cp1252")


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
