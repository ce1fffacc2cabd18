"""What an audit found of one trained model: a JSON file, written after each part.

DIR/audits/<dataset>/<network>/<defense>/s<seed>/n<images>.json
"""

from __future__ import annotations

from typing import Literal

from benchmark.core.schema import Cost, Frozen
from benchmark.results.flags import Flag

Verdict = Literal["sound", "doubtful", "broken"]


class Checked(Frozen):
    """What one part of an audit found."""

    flags: list[Flag] = []
    numbers: dict[str, float | None] = {}
    """All that was measured, by name, whether it is a finding or not."""
    skipped: str | None = None
    """Why the part could not look, in one line."""
    cost: Cost = Cost()


class Audit(Frozen):
    """An audit of one trained model, as far as it has come."""

    schema_version: Literal[1] = 1
    dataset: str
    network: str
    defense: str
    seed: int
    images: int
    """Validation images it was asked about."""
    weights: str
    """State hash of the model."""
    parts: dict[str, Checked]
    versions: dict[str, str]
    device: str
    created: str

    @property
    def flags(self) -> list[Flag]:
        """Those of all parts, each code once."""
        found = [flag for part in self.parts.values() for flag in part.flags]
        return list({flag.code: flag for flag in reversed(found)}.values())[::-1]

    @property
    def verdict(self) -> Verdict:
        """`broken` if a flag says that attacks fail, else `doubtful` if there is any."""
        if any(flag.kind.broken for flag in self.flags):
            return "broken"
        return "doubtful" if self.flags else "sound"
