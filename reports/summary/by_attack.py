"""attacks.md: for each attack every defense beside the others, and what each K is worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from reports.tidy.escape import markdown
from reports.tidy.format import markdown_table, percent
from reports.tidy.frame import rows

LEGEND = """\
# Attack by attack

Percent correct, over the training seeds. **robust@K** is per image the worse of the examples made
for the trained and for the adapted model, beside it in parentheses **static@K**, the first alone:
what a report on stored examples would say. **clean@K** is without an attack. Rows by the
last robust@K; intervals, and lines with a hole, are in summary.md.
"""
WIDEST = 160


def by_attack(attacks: pd.DataFrame) -> str:
    """The page, for the table `headline.views` gives by attack; complete lines only."""
    done = attacks[attacks["status"] == "done"]
    parts = [LEGEND]
    for (dataset, network), part in done.groupby(["dataset", "network"], sort=False):
        parts.append(f"## {markdown(str(dataset))}, {markdown(str(network))}\n")
        for (family, attack), of_attack in part.groupby(["family", "attack"], sort=False):
            parts += _section(str(family), str(attack), of_attack)
    return "\n".join(parts)


def _section(family: str, attack: str, part: pd.DataFrame) -> Iterator[str]:
    threat = ", ".join(markdown(text) for text in dict.fromkeys(part["threat"]))
    yield f"### {markdown(attack, WIDEST)}\n\nFamily {markdown(family)}; {threat}.\n"
    shots = sorted({*part["shots"]} - {0})
    columns = [f"robust@{k} (static@{k})" for k in shots] + [f"clean@{k}" for k in shots[-1:]]
    yield markdown_table(
        ("defense", "adaptation", "clean@0", "robust@0", *columns, "images x episodes x seeds"),
        [_row(lines, shots) for lines in _ordered(part, shots)],
        left=2,
    )


def _ordered(part: pd.DataFrame, shots: list[int]) -> list[dict[int, Any]]:
    """By defense and adaptation its lines by K, 0 among them; the most robust at the end first."""
    start = {row.defense: row for row in rows(part[part["shots"] == 0])}
    found: dict[tuple[str, str], dict[int, Any]] = {}
    for row in rows(part[part["shots"] > 0] if shots else part):
        first = {0: start[row.defense]} if row.defense in start else {}
        found.setdefault((row.defense, row.adaptation), first)[row.shots] = row
    last = shots[-1] if shots else 0
    return sorted(found.values(), key=lambda lines: -lines[last].robust if last in lines else 1)


def _row(lines: dict[int, Any], shots: list[int]) -> tuple[str, ...]:
    any_row = lines[max(lines)]
    start = lines.get(0)
    clean = percent(start.clean) if start else ""
    before = percent(any_row.robust_before)
    after = [
        f"{percent(lines[k].robust)} ({percent(lines[k].static)})" if k in lines else ""
        for k in shots
    ]
    last = [percent(lines[k].clean) if k in lines else "" for k in shots[-1:]]
    sizes = f"{any_row.n} x {any_row.episodes} x {any_row.seeds}"
    name = markdown(any_row.defense, WIDEST)
    return (name, any_row.adaptation, clean, before, *after, *last, sizes)
