"""What the user asked for becomes an ordered list of cells: names, wildcards, budgets, seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from attacks import ATTACKS
from attacks.build import Strengths, build_attack, strengths_of
from baselines.build import build_defenses
from baselines.networks.zoo import NETWORKS, default_network
from baselines.training.warm_start import families
from benchmark.adaptation.adapt import DEFAULTS
from benchmark.core.errors import UsageError, unknown
from benchmark.core.specs import Spec, split
from benchmark.core.types import Attack, Defense
from benchmark.data.catalog import DATASETS
from benchmark.plan.request import BASE, FLAGS, AttackScope, Request, Suite, SuiteSection
from benchmark.plan.tuned import choice_for, read_choices, settings
from benchmark.results.records import Budget, Cell, Choice, Scored


class Plan(BaseModel):
    """The cells in the order they are run, and the components their names stand for."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)
    cells: list[Cell]
    attacks: dict[str, Attack]
    """Scored or shown."""
    defenses: dict[str, Defense]
    choices: dict[str, Choice] = {}
    """Of a tuned plan, by defense."""


def _merge(*layers: Request) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {key: value for key, value in layer.model_dump().items() if value is not None}
    return merged


def defense_texts(request: Request, suite: Suite) -> list[str]:
    """The defenses a plan names, as the user wrote them."""
    texts = [split(_merge(BASE, part, request)["defenses"]) for part in suite.parts()]
    return list(dict.fromkeys(text for part in texts for text in part))


def make_plan(request: Request, suite: Suite) -> Plan:
    """All cells: flags, then the suite, then the defaults; the scope of one attack likewise.

    Parts of a suite come one after another, each cell once.

    Raises:
        UsageError: an unknown name or option, or a budget that makes no sense.
    """
    known = build_defenses(defense_texts(request, suite))
    plans = [_plan(request, part, known) for part in suite.parts()]
    return Plan(
        cells=list(dict.fromkeys(cell for plan in plans for cell in plan.cells)),
        attacks={name: attack for plan in plans for name, attack in plan.attacks.items()},
        defenses={name: defense for plan in plans for name, defense in plan.defenses.items()},
        choices={name: choice for plan in plans for name, choice in plan.choices.items()},
    )


def _plan(request: Request, part: SuiteSection, built: Mapping[str, tuple[str, Defense]]) -> Plan:
    wanted = _wanted(request, part)
    strengths = strengths_of(wanted["dataset"])
    defenses = dict(built[text] for text in split(wanted["defenses"]))
    if not defenses:
        raise UsageError("--defense names no defense; expected names or path/to/file.py:NAME")
    attacks: dict[str, Attack] = {}
    blocks: dict[str, list[Cell]] = {}
    scopes = {name: _scope(wanted, special, request) for name, special in part.attack.items()}
    choices = _choices(wanted, defenses)
    known: dict[tuple[Spec, Choice | None], _Row] = {}
    for name, defense in defenses.items():
        chosen = choices.get(name)
        trained_on = families(defense, strengths)
        specs = list(select(wanted["attacks"], trained_on))
        for spec in specs:
            if (spec, chosen) not in known:
                scope = scopes.get(spec.name, wanted)
                row = _row(spec, strengths, scope if chosen is None else scope | settings(chosen))
                known[spec, chosen], attacks[row.name] = row, row.attack
        shown = orders(wanted, specs, trained_on)
        for spec in {spec: None for order in shown for spec in order if str(spec) not in attacks}:
            attacks[str(spec)] = build_attack(spec, strengths)
        names = [tuple(map(str, order)) for order in shown]
        blocks[name] = list(_cells(wanted, name, names, [known[spec, chosen] for spec in specs]))
    cells = [
        cell.seeded(seed)
        for seed in dict.fromkeys(wanted["seeds"])
        for name in defenses
        for cell in blocks[name]
    ]
    return Plan(cells=cells, attacks=attacks, defenses=defenses, choices=choices)


def _choices(wanted: Mapping[str, Any], defenses: Iterable[str]) -> dict[str, Choice]:
    """How each defense adapts, if the plan names a file of `tune`."""
    if "tuned" not in wanted:
        return {}
    path = Path(wanted["tuned"])
    found = read_choices(path)
    trained = wanted["dataset"], wanted["network"]
    return {name: choice_for(found, path, *trained, name) for name in defenses}


def _wanted(request: Request, part: SuiteSection) -> dict[str, Any]:
    """All that a part of a plan is, checked as far as names and numbers go."""
    if request.sequence is not None and request.shown is None:
        part = part.model_copy(update={"shown": None, "attacks": None})
    elif request.shown is not None and request.sequence is None:
        part = part.model_copy(update={"sequence": None})
    wanted = _merge(BASE, part, request)
    for field in ("methods", "steps", "lr"):
        if "tuned" in wanted and getattr(request, field) is not None:
            flag = FLAGS[field]
            raise UsageError(f"expected --tuned or --{flag}, got both; drop one")
    if "sequence" in wanted:  # what arrives is what is scored, unless somebody says more
        wanted["attacks"] = request.attacks or part.attacks or wanted["sequence"]
    if wanted["dataset"] not in DATASETS:
        raise unknown("data set", wanted["dataset"], DATASETS)
    wanted["network"] = wanted.get("network") or default_network(wanted["dataset"])
    if wanted["network"] not in NETWORKS:
        raise unknown("network", wanted["network"], NETWORKS)
    check_shots(wanted["shots"], wanted["dataset"], wanted["split"])
    return wanted


def orders(
    wanted: Mapping[str, Any], scored: Sequence[Spec], trained_on: frozenset[str] | None
) -> list[tuple[Spec, ...]]:
    """What is shown, one attack after another: each order once; an empty one is the scored attack.

    Raises:
        UsageError: an unknown attack, an empty sequence, or a sequence beside other shown ones.
    """
    if wanted.get("sequence") is not None:
        if wanted["shown"] != "self":
            raise UsageError("expected --shown or --sequence, got both; drop one")
        arrivals = [Spec.parse(text) for text in split(wanted["sequence"])]
        if not arrivals:
            raise UsageError(
                f"--sequence {wanted['sequence']!r} names no attack; "
                "expected names in the order they arrive"
            )
        return [tuple(arrivals[: stage + 1]) for stage in range(len(arrivals))]
    if wanted["shown"] == "self":
        return [()]
    if wanted["shown"] == "each":
        return [(spec,) for spec in scored]
    return [(spec,) for spec in select(wanted["shown"], trained_on, "--shown")]


class _Row(NamedTuple):
    """One attack and how it is scored: the same for every defense and seed."""

    attack: Attack
    name: str
    limit: int | None
    episodes: int
    budgets: list[Budget]


def _row(spec: Spec, strengths: Strengths, scope: Mapping[str, Any]) -> _Row:
    attack = build_attack(spec, strengths)
    return _Row(attack, str(spec), scope.get("limit"), scope["episodes"], budgets(scope))


def _cells(
    wanted: Mapping[str, Any], defense: str, shown: Iterable[tuple[str, ...]], rows: Iterable[_Row]
) -> Iterator[Cell]:
    """Of the first seed: the trained model once for each attack, then whatever it is shown."""
    found: dict[Cell, None] = {}
    for order in shown:
        for row in rows:
            plain = order == (row.name,)  # shown itself alone: the cell everybody has
            for budget in row.budgets:
                cell = Cell(
                    dataset=wanted["dataset"], network=wanted["network"], defense=defense, seed=0,
                    attack=row.name, budget=budget, limit=row.limit, split=wanted["split"],
                    episodes=row.episodes if budget.adapts else 1,
                    shown=order if budget.adapts and not plain else (),
                )  # fmt: skip
                found.setdefault(cell)
    yield from found


def check_shots(shots: Iterable[int], dataset: str, scored: Scored = "test") -> None:
    """Raise UsageError if the validation images of a data set are too few, before anything runs.

    Where validation images are scored, half of them are left to be shown.
    """
    facts = DATASETS[dataset]
    most = facts.sizes[1] // facts.classes // (1 if scored == "test" else 2)
    if max(shots) > most:
        where = "" if scored == "test" else " beside those that are scored"
        raise UsageError(
            f"--shots {max(shots)}: {dataset} has {most} validation images per class to show"
            f"{where}; ask for at most {most}"
        )


def _scope(wanted: Mapping[str, Any], special: AttackScope, request: Request) -> dict[str, Any]:
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


def select(
    expression: str, trained_on: frozenset[str] | None, flag: str = "--attacks"
) -> Iterator[Spec]:
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
        raise UsageError(f"{flag} {expression!r} names no attack; expected names, all or unseen")


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
