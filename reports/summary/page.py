"""summary.md: the headline first, then every attack, then what is missing or doubtful."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from reports.summary.collateral import changed_others, shown_sections
from reports.summary.two_classes import section
from reports.tidy.aggregate import Views
from reports.tidy.escape import markdown
from reports.tidy.format import markdown_table, percent
from reports.tidy.frame import audits, rows
from reports.tidy.rows import Key
from reports.tidy.sequences import Collateral, collateral
from reports.tidy.training_cost import COSTS, KEY, training_costs
from reports.tidy.warnings import warnings

LEGEND = """\
Accuracies in percent, with 95% intervals: Wilson where one model is scored once, else a bootstrap
over images, episodes and training seeds. With one episode an interval says nothing about the draw
of the shown examples. K counts shown examples per class.

- **robust@0**: the trained model, attacked. **static@K**: the adapted model on examples made for
  the trained one, which is what others report. **reattacked@K**: the adapted model, attacked again.
- **robust@K**, the headline: per image, correct under both. **inflation** = static@K - robust@K.
  **gain** = robust@K - robust@0. **robust_rule@K**, where it was asked for: under who knows how a
  model adapts, not to which images, over so many attacks as stand beside it: those with several
  draws. **clean@K**: the adapted model on the images as they are.
- **mean over families**: the worst attack of each family per image, then the mean over families.
  **worst case**: per image, over all attacks. Both use the images and episodes all attacks share.
  For K > 0 each attack meets the model that adapted to it.
- **unseen** goes by family: training used no attack of it. **unseen by name**: training did not use
  that very attack. Both are yes, no or unknown (nobody declared what training used).
- **collateral**, where other attacks were scored after showing one: the mean and the worst change
  of robust@K - robust@0 over all pairs of an attack shown and another one scored.
- Every attack counts, near-duplicates too, unless it is said below which count once
  (`report --distinct`).
- A line with a hole is *incomplete*: it has no numbers and no rank. One that does not compare with
  the others (other images, other options of an attack, fewer images, episodes or training seeds
  than the middle line) is *not ranked*; why stands under the reasons for doubt.
"""

VIEWS = {"family mean": "Mean over families of the worst attack in each", "union": "Worst case"}
SCOPES = {
    "unseen": "Unseen attacks: families that training did not use",
    "seen": "Seen attacks: families that training used",
    "unknown": "Unknown attacks: nobody declared whether training used their family",
}


def summary(frame: pd.DataFrame, shown: Views, left_out: Sequence[str] = ()) -> str:
    """The whole page, for a tidy frame and its `headline.views`; `left_out` is said first.

    Names and reasons in it come from users and are escaped.
    """
    head, attacks = shown.head, shown.attacks
    harm = collateral(shown.changed)
    parts = ["# Robustness after adaptation, re-attacked\n", LEGEND]
    parts += [f"- {markdown(line, 300)}\n" for line in left_out]
    for (dataset, network), part in head.groupby(["dataset", "network"], sort=False):
        of_this = (attacks["dataset"] == dataset) & (attacks["network"] == network)
        parts.append(f"## {markdown(str(dataset))}, {markdown(str(network))}\n")
        parts += _headline(part, harm)
        parts += _attacks(attacks[of_this])
    parts += section(frame)
    parts += shown_sections(shown.changed, shown.staged)
    parts += _costs(frame)
    parts += _audits(frame)
    parts += _doubts(frame)
    return "\n".join(parts)


def _headline(part: pd.DataFrame, harm: Mapping[Key, Collateral]) -> Iterator[str]:
    for over, title in VIEWS.items():
        yield f"### {title}, all attacks\n"
        yield _lines(part[(part["scope"] == "all") & (part["over"] == over)], "rank", harm)
    for scope, title in SCOPES.items():
        chosen = part[(part["scope"] == scope) & (part["over"] == "family mean")]
        if len(chosen):
            yield f"### {title}\n\nMean over families; not ranked, since the attacks differ.\n"
            yield _lines(chosen, "attacks")


def _lines(part: pd.DataFrame, first: str, harm: Mapping[Key, Collateral] | None = None) -> str:
    found = [(harm or {}).get(Key(*row[: len(Key._fields)])) for row in rows(part)]
    more = ["collateral"] * any(found)
    ruled = ["robust_rule@K"] * bool(part["robust_rule"].notna().any())
    return markdown_table(
        (first, "defense", "adaptation", "K", *_NUMBERS, *ruled, *more, "cells", "n x episodes"),
        [
            (
                _first(row, first),
                markdown(row.defense),
                row.adaptation,
                str(row.shots),
                *_numbers(row),
                *([_by_rule(row)] if ruled else []),
                *([changed_others(change)] if more else []),
                _cells(row),
                _size(row),
            )
            for row, change in zip(rows(part), found, strict=True)
        ],
        left=3,
    )


def _by_rule(row: Any) -> str:
    """robust_rule@K, and of how many attacks."""
    if pd.isna(row.robust_rule):
        return ""
    return f"{percent(row.robust_rule, row.robust_rule_interval)} of {row.ruled}"


def _first(row: Any, first: str) -> str:
    if first == "attacks":
        return f"{row.attacks} in {row.families}"
    unranked = "incomplete" if row.status != "done" else "not ranked"
    return unranked if pd.isna(row.rank) else str(row.rank)


_NUMBERS = ("clean@K", "robust@0", "static@K", "reattacked@K", "robust@K", "inflation", "gain")


def _numbers(row: Any) -> list[str]:
    """The columns _NUMBERS; where nothing adapts only clean and robust@0 mean anything."""
    clean = percent(row.clean, row.clean_interval)
    before = percent(row.robust_before, row.robust_before_interval)
    if not row.shots:
        return [clean, before, *[""] * 5]
    after = [
        percent(getattr(row, name), getattr(row, f"{name}_interval"))
        for name in ("static", "reattacked", "robust", "inflation")
    ]
    after[2] = f"**{after[2]}**" if after[2] else ""
    return [clean, before, *after, percent(row.gain, row.gain_interval, signed=True)]


def _cells(row: Any) -> str:
    others = ("failed", "skipped", "missing")
    found = [f"{count} {name}" for name in others if (count := getattr(row, name))]
    return ", ".join([f"{row.scored} of {row.expected} done", *found])


def _size(row: Any) -> str:
    return "" if pd.isna(row.n) else f"{row.n} x {row.episodes}"


def _attacks(part: pd.DataFrame) -> Iterator[str]:
    """A table for each defense, scope and adaptation: a row per attack, columns by shots."""
    for (defense, scope), of_defense in part.groupby(["defense", "scope"], sort=False):
        yield f"### {markdown(str(defense))}, {SCOPES[str(scope)].partition(':')[0].lower()}\n"
        start = of_defense[of_defense["shots"] == 0]
        adapted = of_defense[of_defense["shots"] > 0]
        for adaptation, chosen in adapted.groupby("adaptation", sort=False):
            yield f"Adaptation: {adaptation}.\n"
            yield _by_shots(pd.concat([start, chosen]))
        if not len(adapted):
            yield _by_shots(start)


def _by_shots(part: pd.DataFrame) -> str:
    shots = sorted({*part["shots"]} - {0})
    cells = {(row.attack, row.shots): row for row in rows(part)}
    head = ["family", "attack", "threat", "unseen by name", "n", "robust@0"]
    head += [f"{name}@{k}" for k in shots for name in ("static", "robust")]
    body = []
    for attack in dict.fromkeys(part["attack"]):
        found = {k: cells[attack, k] for k in (0, *shots) if (attack, k) in cells}
        any_row = next(iter(found.values()))
        names = [markdown(value) for value in (any_row.family, attack, any_row.threat)]
        sizes = sorted({str(row.n) for row in found.values() if not pd.isna(row.n)}, key=int)
        values = [_before(found)] + [text for k in shots for text in _after(found.get(k))]
        body.append((*names, _by_name(any_row), ", ".join(sizes), *values))
    return markdown_table(head, body, left=4)


def _by_name(row: Any) -> str:
    value = row.unseen_by_name
    return "unknown" if pd.isna(value) else "yes" if value else "no"


def _before(found: dict[int, Any]) -> str:
    row = next((row for row in found.values() if row.status == "done"), None)
    if row is None:
        return next(iter(found.values())).status if 0 in found else ""
    return percent(row.robust_before, row.robust_before_interval)


def _after(row: Any) -> tuple[str, str]:
    if row is None:
        return "", ""
    if row.status != "done":
        return "", "" if row.status == "missing" else row.status
    return percent(row.static), percent(row.robust, row.robust_interval)


def _costs(frame: pd.DataFrame) -> Iterator[str]:
    """What training took, for each defense that was trained here."""
    known = training_costs(frame).dropna(subset="training_passes")
    if len(known):
        yield "## Training cost\n\nMean over seeds; what training started from is included.\n"
        yield markdown_table(
            ("data set", "network", "defense", "passes", "images", "updates", "seconds"),
            [
                (
                    *(markdown(str(getattr(row, name))) for name in KEY),
                    *(f"{getattr(row, name):,.0f}" for name in COSTS),
                )
                for row in rows(known)
            ],
            left=3,
        )


def _audits(frame: pd.DataFrame) -> Iterator[str]:
    yield "## Audits\n\nOf the very models that were scored, by `python -m benchmark audit`.\n"
    yield markdown_table(
        ("data set", "network", "defense", "audit"),
        [tuple(markdown(text, 200) for text in line) for line in audits(frame)],
        left=4,
    )


def _doubts(frame: pd.DataFrame) -> Iterator[str]:
    for status in ("failed", "skipped"):
        chosen = frame[frame["status"] == status]
        if len(chosen):
            yield f"## {status.capitalize()}\n"
            yield _reasons(chosen)
    found = warnings(frame)
    if found:
        yield "## Reasons for doubt\n"
        yield markdown_table(
            ("kind", "where", "what"),
            [(x.kind, markdown(x.where, 200), markdown(x.message, 400)) for x in found],
            left=3,
        )


def _reasons(chosen: pd.DataFrame) -> str:
    groups = chosen.groupby(["dataset", "network", "attack", "reason"], sort=False)
    return markdown_table(
        ("data set", "network", "attack", "cells", "defenses", "reason"),
        [
            (
                *(markdown(str(name)) for name in names[:3]),
                str(len(group)),
                ", ".join(markdown(name) for name in dict.fromkeys(group["defense"])),
                markdown(str(names[3]), 200),
            )
            for names, group in groups
        ],
        left=6,
    )
