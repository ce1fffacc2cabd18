"""Which verdicts of a submission are asked again, drawn by the file's own hash.

Nobody who makes a file can choose which verdicts will be asked: the draw hangs on all its records.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmark.core.errors import UsageError
from benchmark.core.schema import short_hash
from benchmark.results.records import Record
from benchmark.results.store import sealed
from reports.tidy.escape import visible
from reports.tidy.sources import gather

ATTACKS, VERDICTS = 3, 300
"""The least that is asked again."""
Draw = dict[str, list[Record]]
"""By attack, the records of all its budgets."""


def of_one_model(place: Path, defense: str | None) -> list[Record]:
    """The records of one trained model in a submission.

    Raises:
        UsageError: there are several, or none of that name.
    """
    records = [one.record for one in gather([place])]
    names = sorted({one.cell.defense for one in records})
    chosen = [one for one in records if defense in (None, one.cell.defense)]
    parts = [one.cell for one in chosen]
    models = {(cell.dataset, cell.network, cell.defense, cell.seed) for cell in parts}
    if len(models) != 1:
        raise UsageError(
            f"{place}: expected the records of one trained model, got {len(models)}; say which by "
            f"--defense, one of {', '.join(visible(name) for name in names[:8])}"
        )
    return chosen


def drawn(records: Sequence[Record]) -> Draw:
    """Attacks in an order drawn by the hash of all records, until there are enough verdicts.

    Without those of `--verdicts union`, which are parts of what a family does.

    Raises:
        UsageError: the records hold no such number of verdicts, or of attacks.
    """
    by_attack: defaultdict[str, list[Record]] = defaultdict(list)
    for one in records:
        if one.outcome is not None and "verdicts" not in one.fingerprint:
            by_attack[one.cell.attack].append(one)
    order = sorted(by_attack)
    random.Random(seed_of(records)).shuffle(order)
    found: Draw = {}
    for attack in order:
        if len(found) >= ATTACKS and sum(map(_verdicts, found.values())) >= VERDICTS:
            break
        found[attack] = by_attack[attack]
    count = sum(map(_verdicts, found.values()))
    if len(found) < ATTACKS or count < VERDICTS:
        raise UsageError(
            f"{count} verdicts of {len(found)} attacks are too few to verify; expected at least "
            f"{VERDICTS} of {ATTACKS}, those of --verdicts union not counted"
        )
    return found


def seed_of(records: Sequence[Record]) -> str:
    """Of the draw: a hash of what all records hold."""
    return short_hash(*sorted(str(sealed(one)) for one in records))


def _verdicts(records: Sequence[Record]) -> int:
    return sum(one.outcome.n * one.outcome.episodes for one in records if one.outcome)
