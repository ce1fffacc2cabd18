"""What the user asked for becomes an ordered list of cells: names, wildcards, budgets, seeds."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from attacks import ATTACKS
from attacks.strengths import build_attack, strengths_of
from baselines.adaptation import DEFAULTS
from baselines.from_file import build_defense
from baselines.networks import NETWORKS, default_network
from baselines.warm_start import families
from benchmark.core.errors import UsageError, unknown
from benchmark.core.records import Budget, Cell, Knowledge, Method
from benchmark.core.specs import Spec, split
from benchmark.core.types import Attack, Defense
from benchmark.dataset_facts import DATASETS

Count = Annotated[int, Field(ge=0)]
FLAGS = {"methods": "adapt", "steps": "adapt-steps", "lr": "adapt-lr"}
"""Fields of a request whose flag has another name."""
CHOICES = {"methods": ("adaptation method", Method), "knowledge": ("knowledge", Knowledge)}


class Scope(BaseModel):
    """How much is scored: what a suite may set for one attack apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    shots: Annotated[list[Count], Field(min_length=1)] | None = None
    episodes: int | None = Field(default=None, ge=1)
    limit: int | None = Field(default=None, ge=1)


class Request(Scope):
    """What to run. None means: not said here (a flag wins over the suite, both over defaults)."""

    defenses: str | None = None
    attacks: str | None = None
    dataset: str | None = None
    network: str | None = None
    methods: Annotated[list[Method], Field(min_length=1)] | None = None
    knowledge: Annotated[list[Knowledge], Field(min_length=1)] | None = None
    seeds: Annotated[list[Count], Field(min_length=1)] | None = None
    steps: Count | None = None
    lr: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Suite(Request):
    """A named request, kept as a data file, with attacks that get another scope than the rest."""

    description: str
    attack: dict[str, Scope] = {}


BASE = Request(
    defenses="meta_adv", attacks="all", dataset="digits", shots=[0, 1, 5, 10], episodes=3,
    methods=["finetune"], knowledge=["captured"], seeds=[0],
)  # fmt: skip


class Plan(BaseModel):
    """The cells in the order they are run, and the components their names stand for."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)
    cells: list[Cell]
    attacks: dict[str, Attack]
    defenses: dict[str, Defense]


def suites() -> dict[str, Suite]:
    """All named suites, by name."""
    folder = files("benchmark").joinpath("suites")
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".toml"))
    return {name.removesuffix(".toml"): read_suite(name.removesuffix(".toml")) for name in names}


def read_suite(name: str) -> Suite:
    """One named suite; UsageError with the list if there is none of that name."""
    file = files("benchmark").joinpath("suites", f"{name}.toml")
    if not (name.isidentifier() and file.is_file()):
        known = [path.name for path in files("benchmark").joinpath("suites").iterdir()]
        raise unknown("suite", name, [file.removesuffix(".toml") for file in known])
    return Suite.model_validate(tomllib.loads(file.read_text("utf-8")))


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
        message = first["msg"].removeprefix("Input should be ")
        flag = FLAGS.get(field, field)
        raise UsageError(f"--{flag}: expected {message}, got {got!r}") from None


def _merge(*layers: Request) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {key: value for key, value in layer.model_dump().items() if value is not None}
    return merged


def defense_texts(request: Request, suite: Suite) -> list[str]:
    """The defenses a plan names, as the user wrote them."""
    return split(_merge(BASE, suite, request)["defenses"])


def make_plan(request: Request, suite: Suite) -> Plan:
    """All cells: flags, then the suite, then the defaults; the scope of one attack likewise.

    Raises:
        UsageError: an unknown name or option, or a budget that makes no sense.
    """
    wanted = _merge(BASE, suite, request)
    if wanted["dataset"] not in DATASETS:
        raise unknown("data set", wanted["dataset"], DATASETS)
    strengths = strengths_of(wanted["dataset"])
    network = wanted.get("network") or default_network(wanted["dataset"])
    if network not in NETWORKS:
        raise unknown("network", network, NETWORKS)
    check_shots(wanted["shots"], wanted["dataset"])
    defenses = dict(build_defense(text) for text in defense_texts(request, suite))
    if not defenses:
        raise UsageError("--defense names no defense; expected names or path/to/file.py:NAME")
    rows: dict[str, list[_Row]] = {}
    known: dict[Spec, _Row] = {}
    for name, defense in defenses.items():
        specs = list(select(wanted["attacks"], families(defense, strengths)))
        for spec in specs:
            if spec not in known:
                scope = _scope(wanted, suite.attack.get(spec.name, Scope()), request)
                known[spec] = _row(build_attack(spec, strengths), str(spec), scope)
        rows[name] = [known[spec] for spec in specs]
    cells = [
        Cell(
            dataset=wanted["dataset"], network=network, defense=name, seed=seed,
            attack=row.name, budget=budget, limit=row.limit,
            episodes=row.episodes if budget.adapts else 1,
        )
        for seed in dict.fromkeys(wanted["seeds"])
        for name in defenses
        for row in rows[name]
        for budget in row.budgets
    ]  # fmt: skip
    attacks = {row.name: row.attack for row in known.values()}
    return Plan(cells=cells, attacks=attacks, defenses=defenses)


class _Row(NamedTuple):
    """One attack and how it is scored: the same for every defense and seed."""

    attack: Attack
    name: str
    limit: int | None
    episodes: int
    budgets: list[Budget]


def _row(attack: Attack, name: str, scope: Mapping[str, Any]) -> _Row:
    return _Row(attack, name, scope.get("limit"), scope["episodes"], budgets(scope))


def check_shots(shots: Iterable[int], dataset: str) -> None:
    """Raise UsageError if the validation images of a data set are too few, before anything runs."""
    facts = DATASETS[dataset]
    most = facts.sizes[1] // facts.classes
    if max(shots) > most:
        raise UsageError(
            f"--shots {max(shots)}: {dataset} has {most} validation images per class to show; "
            f"ask for at most {most}"
        )


def _scope(wanted: Mapping[str, Any], special: Scope, request: Request) -> dict[str, Any]:
    """`wanted`, with what the suite says of one attack, unless a flag said otherwise."""
    flags = request.model_dump(exclude_none=True)
    said = special.model_dump(exclude_none=True)
    return {**wanted, **{key: value for key, value in said.items() if key not in flags}}


def budgets(scope: Mapping[str, Any]) -> list[Budget]:
    """Every budget once; all those that do not adapt are the one row of the trained model."""
    found: dict[str, Budget] = {}
    said = scope.get("steps")  # 0 is an answer
    for shots in sorted(set(scope["shots"])):
        for method in scope["methods"]:
            for knowledge in scope["knowledge"]:
                steps, lr = DEFAULTS[method]
                budget = Budget(
                    shots=shots, method=method, knowledge=knowledge,
                    steps=steps if said is None else said, lr=scope.get("lr") or lr,
                )  # fmt: skip
                if not budget.adapts:
                    budget = Budget(shots=0, method="none")
                found.setdefault(str(budget), budget)
    return list(found.values())


def select(expression: str, trained_on: frozenset[str] | None) -> Iterator[Spec]:
    """The attacks an expression stands for, each once, in the order named.

    Parts: a name with or without options, a wildcard (`pgd_*`), `all`, `family:NAME`, or `unseen`:
    the families the defense was not trained on (all of them when nobody knows what it was). Those
    that only repeat others (`Attack.only_by_name`) are had by a name or a wildcard.
    """
    seen: set[str] = set()
    for part in split(expression):
        for spec in _select_part(part, trained_on or frozenset()):
            if str(spec) not in seen:
                seen.add(str(spec))
                yield spec
    if not seen:
        raise UsageError(f"--attacks {expression!r} names no attack; expected names, all or unseen")


def _select_part(part: str, trained_on: frozenset[str]) -> Iterable[Spec]:
    found = {name: ATTACKS.get(name) for name in ATTACKS.names()}
    families = {name: one.family for name, one in found.items() if not one.only_by_name}
    if part == "all":
        return [Spec(name) for name in families]
    if part == "unseen":
        return [Spec(name) for name, family in families.items() if family not in trained_on]
    if part.startswith("family:"):
        wanted = part.removeprefix("family:")
        if wanted not in families.values():
            raise unknown("family of attacks", wanted, set(families.values()))
        return [Spec(name) for name, family in families.items() if family == wanted]
    spec = Spec.parse(part)
    if any(mark in spec.name for mark in "*?"):
        return [Spec(name, spec.options) for name in ATTACKS.match(spec.name)]
    return [spec]
