"""What the user asked for becomes an ordered list of cells: names, wildcards, budgets, seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from attacks.build import build_attack, check_override, strengths_of
from attacks.threats.infer import representations
from baselines.build import build_defenses
from baselines.networks.zoo import check_network, default_network
from baselines.training.warm_start import families
from benchmark.adaptation.adapt import DEFAULTS
from benchmark.core.errors import UsageError
from benchmark.core.specs import Spec, label_of, split
from benchmark.core.types import Attack, Defense
from benchmark.data.catalog import Facts
from benchmark.data.load import facts_of
from benchmark.data.own import is_own
from benchmark.plan.own_attack import brought_attacks, given_attacks
from benchmark.plan.request import BASE, FLAGS, AttackScope, Request, Suite, SuiteSection
from benchmark.plan.selection import orders, select
from benchmark.plan.tuned import choice_for, read_choices, settings
from benchmark.results.cells import Own
from benchmark.results.records import Budget, Cell, Choice, Scored


class Plan(BaseModel):
    """The cells in the order they are run, and the components their names stand for."""

    model_config = ConfigDict(arbitrary_types_allowed=True, frozen=True)
    cells: list[Cell]
    attacks: dict[str, Attack]
    """Scored or shown."""
    defenses: dict[str, Defense]
    facts: dict[str, Facts] = {}
    """Of the data sets, by their names in cells."""
    own: Own = Own()
    """What of all this the user brought."""
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


def make_plan(
    request: Request, suite: Suite, strengths: str = "",
    defenses: Mapping[str, tuple[str, Defense]] | None = None,
) -> Plan:  # fmt: skip
    """All cells: flags, then the suite, then the defaults; the scope of one attack likewise.

    Parts of a suite come one after another, each cell once.

    Args:
        request: what flags say.
        suite: what they do not say.
        strengths: TOML of the user's.
        defenses: by the text that names one, its name in tables and itself: in place of what
            request and suite name.

    Raises:
        UsageError: an unknown name or option, or a budget that makes no sense.
    """
    if defenses is not None:
        request = request.model_copy(update={"defenses": ",".join(defenses)})
    known = build_defenses(defense_texts(request, suite)) if defenses is None else defenses
    plans = [_plan(request, part, known, strengths) for part in suite.parts()]
    attacks = {name: attack for plan in plans for name, attack in plan.attacks.items()}
    check_override(strengths, attacks.values())
    return Plan(
        cells=list(dict.fromkeys(cell for plan in plans for cell in plan.cells)),
        attacks=attacks,
        own=Own.joined([*(plan.own for plan in plans), Own(attacks=given_attacks([*attacks]))]),
        defenses={name: defense for plan in plans for name, defense in plan.defenses.items()},
        facts={name: facts for plan in plans for name, facts in plan.facts.items()},
        choices={name: choice for plan in plans for name, choice in plan.choices.items()},
    )


def _plan(
    request: Request, part: SuiteSection, built: Mapping[str, tuple[str, Defense]], override: str
) -> Plan:
    wanted = _wanted(request, part)
    facts, dataset = wanted["facts"], wanted["dataset"]
    strengths = strengths_of(dataset, facts.shape, override)
    defenses = dict(built[text] for text in split(wanted["defenses"]))
    if not defenses:
        raise UsageError("--defense names no defense; expected names or path/to/file.py:NAME")
    attacks: dict[str, Attack] = {}
    blocks: dict[str, list[Cell]] = {}
    given = {name: defense.network or wanted["network"] for name, defense in defenses.items()}
    networks = {name: label_of(text) for name, text in given.items()}
    choices = _choices(wanted, networks)
    known: dict[tuple[Spec, Choice | None], _Row] = {}
    for name, defense in defenses.items():
        chosen = choices.get(name)
        trained_on = families(defense, strengths)
        brought = _adaptive(wanted["attacks"], defense, strengths, attacks)
        specs = [*select(wanted["attacks"], trained_on), *map(Spec, brought)]
        for spec in specs:
            if (spec, chosen) not in known:
                attack = brought.get(spec.name) or build_attack(spec, strengths)
                scope = _scope(wanted, special_scope(spec, attack, part), request)
                row = _row(spec, attack, scope if chosen is None else scope | settings(chosen))
                known[spec, chosen], attacks[row.name] = row, attack
        shown = orders(wanted, specs, trained_on)
        for spec in {spec: None for order in shown for spec in order if str(spec) not in attacks}:
            attacks[str(spec)] = build_attack(spec, strengths)
        names = [tuple(map(str, order)) for order in shown]
        rows = [known[spec, chosen] for spec in specs]
        blocks[name] = list(_cells(wanted, name, networks[name], names, rows))
    cells = [
        cell.seeded(seed)
        for seed in dict.fromkeys(wanted["seeds"])
        for name in defenses
        for cell in blocks[name]
    ]
    made = {name for name, defense in defenses.items() if not defense.brings_network}
    own = Own(
        datasets=((dataset, wanted["given"]),) if wanted["given"] != dataset else (),
        networks=tuple((networks[name], given[name]) for name in given if name in made),
    )
    return Plan(
        cells=cells, attacks=attacks, defenses=defenses, facts={dataset: facts}, own=own,
        choices=choices,
    )  # fmt: skip


def _adaptive(
    expression: str, defense: Defense, strengths: Mapping[str, Any], planned: Mapping[str, Attack]
) -> dict[str, Attack]:
    """The attacks a defense brings, if they are asked for; UsageError for a name of another's."""
    if not {"all", "adaptive"} & set(split(expression)):
        return {}
    found = brought_attacks(defense, strengths)
    for name, attack in found.items():
        if planned.get(name, attack) != attack:
            raise UsageError(f"two defenses bring other attacks as {name}: rename one")
    return found


def _choices(wanted: Mapping[str, Any], networks: Mapping[str, str]) -> dict[str, Choice]:
    """How each defense, by its network, adapts, if the plan names a file of `tune`."""
    if "tuned" not in wanted:
        return {}
    path = Path(wanted["tuned"])
    found = read_choices(path)
    return {
        name: choice_for(found, path, wanted["dataset"], network, name)
        for name, network in networks.items()
    }


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
    given = wanted["given"] = wanted["dataset"]
    wanted["dataset"] = label_of(given) if is_own(given) else given
    facts = wanted["facts"] = facts_of(given)
    wanted["network"] = wanted.get("network") or default_network(given, facts.shape)
    check_network(wanted["network"])
    check_shots(wanted["shots"], wanted["dataset"], facts, wanted["split"])
    return wanted


class _Row(NamedTuple):
    """One attack and how it is scored: the same for every defense and seed."""

    attack: Attack
    name: str
    limit: int | None
    episodes: int
    budgets: list[Budget]


def _row(spec: Spec, attack: Attack, scope: Mapping[str, Any]) -> _Row:
    return _Row(attack, str(spec), scope.get("limit"), scope["episodes"], budgets(scope))


def _cells(
    wanted: Mapping[str, Any],
    defense: str,
    network: str,
    shown: Iterable[tuple[str, ...]],
    rows: Iterable[_Row],
) -> Iterator[Cell]:
    """Of the first seed: the trained model once for each attack, then whatever it is shown."""
    found: dict[Cell, None] = {}
    for order in shown:
        for row in rows:
            plain = order == (row.name,)  # shown itself alone: the cell everybody has
            for budget in row.budgets:
                cell = Cell(
                    dataset=wanted["dataset"], network=network, defense=defense, seed=0,
                    attack=row.name, budget=budget, limit=row.limit, split=wanted["split"],
                    episodes=row.episodes if budget.adapts else 1,
                    shown=order if budget.adapts and not plain else (),
                )  # fmt: skip
                found.setdefault(cell)
    yield from found


def check_shots(shots: Iterable[int], dataset: str, facts: Facts, scored: Scored = "test") -> None:
    """Raise UsageError if the validation images of a data set are too few, before anything runs.

    Where validation images are scored, half of them are left to be shown.
    """
    most = facts.most_shots // (1 if scored == "test" else 2)
    if max(shots) > most:
        where = "" if scored == "test" else " beside those that are scored"
        raise UsageError(
            f"--shots {max(shots)}: {dataset} has {most} validation images per class to show"
            f"{where}; ask for at most {most}"
        )


def special_scope(spec: Spec, attack: Attack, part: SuiteSection) -> AttackScope:
    """What a suite says of one attack: by its name, or else by what it costs."""
    if spec.name in part.attack:
        return part.attack[spec.name]
    costly = part.costly
    return costly if costly and attack.passes > costly.passes else AttackScope()


def _scope(wanted: Mapping[str, Any], special: AttackScope, request: Request) -> dict[str, Any]:
    """`wanted`, with what the suite says of one attack, unless a flag said otherwise."""
    flags = request.model_dump(exclude_none=True)
    said = special.model_dump(exclude_none=True, include=set(AttackScope.model_fields))
    return {**wanted, **{key: value for key, value in said.items() if key not in flags}}


def budgets(scope: Mapping[str, Any]) -> list[Budget]:
    """Every budget once; all those that do not adapt are the one row of the trained model."""
    found: dict[str, Budget] = {}
    said = scope.get("steps")  # 0 is an answer
    for shots in sorted(set(scope["shots"])):
        for method in scope["methods"]:
            for knowledge in scope["knowledge"]:
                steps, lr = DEFAULTS[Spec.parse(method).name]
                budget = Budget(
                    shots=shots, method=method, knowledge=knowledge,
                    steps=steps if said is None else said, lr=scope.get("lr") or lr,
                )  # fmt: skip
                if not budget.adapts:
                    budget = Budget(shots=0, method="none")
                check_knowledge(budget)
                found.setdefault(str(budget), budget)
    return list(found.values())


def check_knowledge(budget: Budget) -> None:
    """Raise UsageError where `amplify` has no originals, or names what nobody knows."""
    numbers = budget.amplify
    if numbers is None:
        return
    representations(numbers)
    if numbers.infers and budget.knowledge == "clean":
        raise UsageError(
            "amplify with --knowledge clean: expected captured, pairs or simulated, since it "
            "infers from attacked images; amplify[representations=none] does not"
        )
    if budget.knowledge == "captured" and numbers.infers and "warp" not in numbers.names:
        raise UsageError(
            "amplify with --knowledge captured: expected warp among its representations, since "
            "without originals only poses are told; or --knowledge pairs"
        )
