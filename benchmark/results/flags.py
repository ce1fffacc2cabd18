"""What makes a robust accuracy doubtful: a flag, and what each kind of it means.

A record holds flags as text, `code: what was seen`; an audit holds them whole. The kinds are in
flag_kinds.toml.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter

from benchmark.core.schema import Frozen

STRONG = ("aa_linf",)
"""The strongest of a norm ball: what those that a flag advises are held beside."""
UNDONE = "part failed"
"""The code of a part of an audit that could not look."""


class Kind(Frozen):
    """What a flag of one code says to whoever reads it."""

    broken: bool
    """Whether the score is an artefact of the attack's failure for all anybody knows; else it is
    only less certain than it looks."""
    meaning: str
    advice: str
    attacks: tuple[str, ...]
    """What to attack with in spite of it, as `--attacks` takes them: `--follow-advice`."""
    paper: str
    """Where it is explained: authors, year and address."""


KINDS = TypeAdapter(dict[str, Kind]).validate_python(
    tomllib.loads(Path(__file__).with_name("flag_kinds.toml").read_text("utf-8"))
)
"""By code."""


def _explained(code: str) -> str:
    if code not in KINDS:
        raise ValueError(f"a flag that nobody explains, {code[:40]!r}")
    return code


class Flag(Frozen):
    """One finding about one model."""

    code: Annotated[str, AfterValidator(_explained)]
    message: str
    """What was seen, in one line."""
    value: float | None = None
    """The measured number, where there is one, and beyond which it is a finding."""
    threshold: float | None = None

    @property
    def kind(self) -> Kind:
        """What flags of this code mean."""
        return KINDS[self.code]

    def __str__(self) -> str:
        """As records hold it."""
        return f"{self.code}: {self.message}"
