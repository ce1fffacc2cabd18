"""What is written down is made of: checked numbers, frozen models, and what work cost."""

from __future__ import annotations

import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, le=2**53)]
"""Of anything: a float holds it exactly, and so do sums of many."""


Seed = Annotated[int, Field(ge=0, lt=2**63)]


Amount = Annotated[float, Field(ge=0, le=1e100)]
"""Of anything that is measured: means and squares of many are still numbers."""


class Frozen(BaseModel):
    """Written once, with finite numbers, and nothing in it that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Cost(Frozen):
    """What the cell took. Passes count images; shared work is booked on the cell that did it.

    Examples that were found in the cache cost no passes: they were booked when they were crafted.
    """

    seconds: Amount = 0.0
    forwards: Count = 0
    backwards: Count = 0


class Effort(Cost):
    """What learning took, in training or in one episode of adaptation."""

    images: Count = 0
    """Labelled images learnt from, each as often as it was shown."""
    updates: Count = 0
    """Steps of the optimiser."""

    @property
    def passes(self) -> int:
        """Of images through the network, forward and backward."""
        return self.forwards + self.backwards

    def __add__(self, other: Effort) -> Effort:
        """One after the other."""
        return Effort(**{name: getattr(self, name) + getattr(other, name) for name in EFFORT})


EFFORT = tuple(Effort.model_fields)

Line = Annotated[str, Field(max_length=300)]


class About(Frozen):
    """What tables say of a defense beside its numbers.

    For display alone: it is no part of what a defense is, and changing it makes nothing stale.
    """

    title: Line = ""
    """As the field calls it, where its name is shown: `PGD-AT`."""
    authors: Line = ""
    year: int | None = Field(default=None, ge=1900, le=2200)
    paper: Line = ""
    """Its title."""
    link: Line = ""
    """Where it is: shown as a link where it begins with https:// or http://."""
    summary: Line = ""
    """One line: what it does."""
    label: Line = ""
    """What a variant is called in place of title and options: `pgd_at[epochs=8,label=long]`."""


def short_hash(*parts: object) -> str:
    """16 hexadecimal digits of the SHA-256 of the parts' text."""
    return hashlib.sha256(
        "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
    ).hexdigest()[:16]
