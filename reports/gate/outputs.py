"""What the gate says, for other programs: Markdown, JUnit XML, annotations of GitHub.

Names come from users, and here they meet three languages: each is escaped where it is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from reports.gate.judge import Judged, Judgement, Verdict
from reports.statistics.intervals import Interval
from reports.statistics.paired import change_intervals
from reports.tidy.escape import markdown, visible
from reports.tidy.format import markdown_table, percent
from reports.tidy.verdicts import WIDEST

WORDS: dict[Verdict, str] = {
    "red": "REGRESSED", "missing": "MISSING", "improved": "improved", "unchanged": "unchanged",
    "new": "new",
}  # fmt: skip
HEAD = ("cell", "baseline", "now", "change (95%)", "lost / won", "p (Holm)", "verdict")
LONG = 400
"""Letters of a message that are shown."""


class TableLine(NamedTuple):
    """One line of the table, as text, not escaped."""

    name: str
    was: str
    now: str
    by: str
    counts: str
    p: str
    verdict: str


def worth_showing(judgement: Judgement) -> list[Judged]:
    """What is red first, then what is missing, better or new."""
    order: tuple[Verdict, ...] = ("red", "missing", "improved", "new")
    return [one for verdict in order for one in judgement.those(verdict)]


def table_rows(entries: Sequence[Judged]) -> list[TableLine]:
    """The table of these entries, with intervals of the changes."""
    pairs = [(one.pair[0].table, one.pair[1].table) for one in entries if one.pair]
    ends = iter(change_intervals(pairs))
    return [_row(one, next(ends) if one.pair else None) for one in entries]


def _row(one: Judged, ends: Interval | None) -> TableLine:
    if one.ratio is not None:
        was, now = one.ratio
        by = f"{100 * (now / was - 1):+.1f} %"
        return TableLine(one.name, f"{was:.3g}x", f"{now:.3g}x", by, "", "", WORDS[one.verdict])
    if one.change is None:
        return TableLine(one.name, "", "", "", "", "", WORDS[one.verdict])
    found = one.change
    return TableLine(
        one.name, percent(found.before), percent(found.after),
        percent(found.points / 100, ends, signed=True), f"{found.lost} / {found.won}",
        f"{one.p:.2g}", WORDS[one.verdict],
    )  # fmt: skip


def counted(judgement: Judgement) -> str:
    """`1 REGRESSED, 2 improved, 19 unchanged of 22`."""
    counts = [(word, len(judgement.those(kind))) for kind, word in WORDS.items()]
    found = ", ".join(f"{count} {word}" for word, count in counts if count)
    return f"{found} of {len(judgement.entries)}"


def rules_in_words(judgement: Judgement) -> str:
    """When this gate closes."""
    rules = judgement.rules
    return (
        f"Robust accuracy in percent (of adapted models: robust@K). Red: more than "
        f"{rules.tolerance:g} points lost on the same images with p < {rules.alpha:g} (exact "
        "paired test, two-sided, Holm over all cells), below a floor, or a new audit flag."
    )


def reasons(judgement: Judgement) -> list[str]:
    """Why cells are red or missing, a harmless line each."""
    return [
        f"{visible(one.name, WIDEST)}: {visible(problem, LONG)}"
        for one in judgement.those("red", "missing")
        for problem in one.problems
    ]


def step_summary(judgement: Judgement) -> str:
    """Markdown for the page of a pull request."""
    title = ("green", "red", "incomplete")[judgement.code]
    text = f"## Robust accuracy: {title}\n\n{counted(judgement)}. {rules_in_words(judgement)}\n\n"
    rows = table_rows(worth_showing(judgement))
    if rows:
        body = [(markdown(row.name, WIDEST), *(markdown(text) for text in row[1:])) for row in rows]
        text += markdown_table(HEAD, body, left=1)
    told = [f"- {markdown(line, WIDEST + LONG)}\n" for line in reasons(judgement)]
    return text + ("\n" + "".join(told) if told else "")


def github_lines(judgement: Judgement) -> list[str]:
    """Workflow commands of GitHub, one a line: errors, and a notice for what got better."""
    lines = []
    for one in worth_showing(judgement):
        name = visible(one.name, WIDEST)
        if one.verdict in ("red", "missing"):
            told = f"{name}: {visible('; '.join(one.problems), LONG)}"
            lines.append(annotation("error", f"Robustness {WORDS[one.verdict]}", told))
        elif one.verdict == "improved":
            row = _row(one, None)
            told = f"{name}: {row.was} -> {row.now}, {row.by}"
            lines.append(annotation("notice", "Robustness improved", told))
    return lines


def annotation(kind: str, title: str, told: str) -> str:
    """A workflow command of GitHub."""
    return f"::{kind} title={_property(title)}::{_data(told)}"


def _data(text: str) -> str:
    """As the runner of GitHub reads it back (actions/toolkit, command.ts)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def junit(judgement: Judgement) -> bytes:
    """JUnit XML: a test case for each entry; red is a failure, missing an error."""
    entries = judgement.entries
    red, missing = len(judgement.those("red")), len(judgement.those("missing"))
    counts = {"tests": str(len(entries)), "failures": str(red), "errors": str(missing)}
    root = ElementTree.Element("testsuites", counts)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "robustness", **counts})
    for one, row in zip(entries, _plain_rows(entries), strict=True):
        names = {"classname": "robustness", "name": visible(one.name, WIDEST), "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", names)
        if one.verdict in ("red", "missing"):
            kind = "failure" if one.verdict == "red" else "error"
            told = visible("; ".join(one.problems), LONG)
            element = ElementTree.SubElement(case, kind, {"message": told, "type": row.verdict})
            element.text = told
        else:
            said = ElementTree.SubElement(case, "system-out")
            said.text = f"{row.verdict}: {row.was} -> {row.now} {row.by}".strip()
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _plain_rows(entries: Iterable[Judged]) -> list[TableLine]:
    """Without intervals, which nobody reads there and which take a while."""
    return [_row(one, None) for one in entries]
