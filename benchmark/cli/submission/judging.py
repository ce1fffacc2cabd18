"""What holds here, to which records that are handed in are held; and what that finds, as lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from attacks.build import build_attack, strengths_of
from benchmark.core.errors import UsageError
from benchmark.identity.fingerprint import declared, options_of_instance
from reports.archive.audited import audits_of
from reports.archive.handed_in import Named, Standards, examined
from reports.archive.reference import shipped
from reports.archive.trust import canonical
from reports.tidy.escape import visible
from reports.tidy.sources import gather

LONG = 400


def standards() -> Standards:
    """Of this installation."""
    return Standards(declared(()), _options)


def _options(dataset: str, attack: str) -> str | None:
    """Those of an attack on a listed data set; None for others, and where it cannot be built."""
    try:
        return canonical(options_of_instance(build_attack(attack, strengths_of(dataset))))
    except UsageError:
        return None


def judged(places: Sequence[Path], with_reference: bool) -> dict[Named, str]:
    """Say line by line what is to be said of each submission; whose rows are not ranked, and why.

    Raises:
        UsageError: one cannot be read, or two of them have one name.
    """
    reference = [one.record for one in gather(shipped())] if with_reference else []
    gather(places)  # which refuses two of one name
    refused: dict[Named, str] = {}
    for place in places:
        records = [one.record for one in gather([place])]
        found = examined(records, audits_of(place), standards(), reference)
        typer.echo(f"{visible(place.name)}:")
        for line in found.lines:
            typer.echo(f"  {visible(str(line), LONG)}")
        refused |= found.refused
    return refused
