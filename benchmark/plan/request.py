"""What the user asks for, as flags and suites say it: named fields, checked, not yet understood."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from benchmark.core.errors import UsageError, unknown
from benchmark.results.records import Knowledge, Method, Scored

Count = Annotated[int, Field(ge=0)]
FLAGS = {"methods": "adapt", "steps": "adapt-steps", "lr": "adapt-lr"}
"""Fields of a request whose flag has another name."""
CHOICES = {"knowledge": ("knowledge", Knowledge)}


class AttackScope(BaseModel):
    """How much is scored: what a suite may set for one attack apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    shots: Annotated[list[Count], Field(min_length=1)] | None = None
    episodes: int | None = Field(default=None, ge=1)
    limit: int | None = Field(default=None, ge=1)


class Request(AttackScope):
    """What to run. None means: not said here (a flag wins over the suite, both over defaults)."""

    defenses: str | None = None
    attacks: str | None = None
    shown: str | None = None
    """What the defender is shown: `self` (the scored attack), `each` (of the scored ones, and all
    are scored after it), or names; each alone."""
    sequence: str | None = None
    """Attacks that arrive one after another; every attack is scored after every arrival."""
    split: Scored | None = None
    tuned: str | None = None
    """File of `tune` that says how each defense adapts."""
    dataset: str | None = None
    network: str | None = None
    methods: Annotated[list[Method], Field(min_length=1)] | None = None
    knowledge: Annotated[list[Knowledge], Field(min_length=1)] | None = None
    seeds: Annotated[list[Count], Field(min_length=1)] | None = None
    steps: Count | None = None
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class CostlyScope(AttackScope):
    """The scope of attacks that cost an image more than `passes`, as they declare themselves."""

    passes: int = Field(ge=1)


class SuiteSection(Request):
    """A request with attacks that get another scope than the rest: one by name goes before."""

    attack: dict[str, AttackScope] = {}
    costly: CostlyScope | None = None


class Suite(SuiteSection):
    """A named request, kept as a data file. Its parts say what differs from one to the next."""

    description: str
    part: list[SuiteSection] = []
    train_attacks: str | None = None
    """Of published splits of attacks: those that training may use. Nothing is run with them."""
    validation_attacks: str | None = None
    """Those on which `tune` chooses settings."""
    other_attacks: str | None = None
    """Those in no split."""

    def parts(self) -> list[SuiteSection]:
        """Each part over the whole; the suite itself if it has none."""
        own = self.model_dump(include=set(SuiteSection.model_fields), exclude_unset=True)
        said = [part.model_dump(exclude_unset=True) for part in self.part or [SuiteSection()]]
        return [
            SuiteSection.model_validate(
                {**own, **one, "attack": self.attack | one.get("attack", {})}
            )
            for one in said
        ]


BASE = Request(
    defenses="meta_adv", attacks="all", dataset="digits", shots=[0, 1, 5, 10], episodes=3,
    methods=["finetune"], knowledge=["captured"], seeds=[0], shown="self", split="test",
)  # fmt: skip


def suites() -> dict[str, Suite]:
    """All named suites, by name."""
    folder = files("benchmark").joinpath("suites")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    return {name.removesuffix(".toml"): read_suite(name.removesuffix(".toml")) for name in names}


def read_suite(name: str) -> Suite:
    """One named suite, or that of a TOML file; UsageError with the list if there is none."""
    if name.endswith(".toml"):
        return _suite_of(Path(name))
    file = files("benchmark").joinpath("suites", f"{name}.toml")
    if not (name.isidentifier() and file.is_file()):
        known = [path.name for path in files("benchmark").joinpath("suites").iterdir()]
        raise unknown("suite", name, [file.removesuffix(".toml") for file in known])
    return Suite.model_validate(tomllib.loads(file.read_text("utf-8")))


def _suite_of(path: Path) -> Suite:
    try:
        return Suite.model_validate(tomllib.loads(path.read_text("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path}: {where}: {first['msg']}, got {first['input']!r}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: no suite that can be read ({error})") from None


def make_request(values: Mapping[str, Any]) -> Request:
    """A request from flags; UsageError naming the first value that is out of range."""
    try:
        return Request.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        field, got = str(first["loc"][0]), first["input"]
        if first["type"] == "literal_error":
            kind, choices = CHOICES[field]
            raise unknown(kind, got, get_args(choices)) from None
        if isinstance(said := first.get("ctx", {}).get("error"), UsageError):
            raise said from None
        message = first["msg"].removeprefix("Input should be ")
        flag = FLAGS.get(field, field)
        raise UsageError(f"--{flag}: expected {message}, got {got!r}") from None
