"""Synthetic records for the tests of reports: plain functions, plausible numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from benchmark.core.schema import Cost
from benchmark.results.records import Budget, Cell, Outcome, Provenance, Record, Status, Verdicts
from benchmark.results.store import sealed, write_record
from reports.tidy.aggregate import headline

N = 120

FAMILIES = {
    "fgsm": ("linf-gradient", "linf 0.15"),
    "pgd_linf": ("linf-gradient", "linf 0.15"),
    "apgd_linf": ("linf-gradient", "linf 0.15"),
    "pgd_l2": ("l2-gradient", "l2 0.7"),
    "cw": ("l2-gradient", "l2 0.7"),
    "ead": ("l1-gradient", "l1 3"),
    "jsma": ("sparse", "l0 3"),
    "square": ("score-based", "linf 0.15"),
    "rotation": ("spatial", "spatial 25 degrees"),
    "gaussian": ("noise", "l2 0.7"),
}
TRAINED_ON = {
    "standard": [],
    "pgd_at": ["linf-gradient"],
    "meta_adv": ["linf-gradient", "l2-gradient"],
}

PROVENANCE = Provenance(
    command="test", attack_options={}, defense_options={}, adaptation={},
    versions={"torch": "2.0"},
    commit=None, device="cpu", created="2026-01-01T00:00:00Z",
)  # fmt: skip


def verdicts(table: Sequence[Sequence[int]] | np.ndarray) -> Verdicts:
    """Packed from rows of 0 and 1."""
    return Verdicts.pack(np.asarray(table, dtype=bool))


def outcome(before, static, reattacked, clean=None, clean_before=None) -> Outcome:
    """An outcome from tables; clean ones are all correct unless given."""
    static = np.asarray(static, dtype=bool)
    episodes = len(static)
    return Outcome(
        clean_before=verdicts(np.ones_like(static[:1]) if clean_before is None else clean_before),
        before=verdicts(before),
        clean=verdicts(np.ones_like(static) if clean is None else clean),
        static=verdicts(static),
        reattacked=verdicts(reattacked),
        moved=[0.1] * episodes,
        support_loss=[(2.0, 1.0)] * episodes,
    )


def record(
    attack="pgd_linf", defense="standard", shots=5, result: Outcome | None = None, *,
    seed=0, family=None, threat=None, unseen: bool | None = True, status: Status = "done",
    reason=None, dataset="digits", network="small_cnn", method="finetune", knowledge="captured",
    flags=(), trained_on: Sequence[str] | None = (), query="q0", limit=None, options=None,
    weights=None,
) -> Record:  # fmt: skip
    """One record. Done without a result means: nothing correct but the clean images, n = 4.

    What is scored is what the limit says, unless there is another.
    """
    known_family, known_threat = FAMILIES.get(attack, ("linf-gradient", "linf 0.15"))
    if status == "done" and result is None:
        result = outcome([[0] * 4], [[0] * 4], [[0] * 4])
    budget = Budget(shots=shots, method=method, knowledge=knowledge, steps=10 if shots else 0)
    episodes = result.static.episodes if result else 1
    return Record(
        cell=Cell(
            dataset=dataset, network=network, defense=defense, seed=seed, attack=attack,
            budget=budget, episodes=episodes, limit=limit or (result.n if result else None),
        ),
        status=status, reason=reason, family=family or known_family,
        threat=threat or known_threat, norm=(threat or known_threat).split()[0],
        origin="reattack", unseen=unseen,
        trained_on=None if trained_on is None else list(trained_on), query=query, outcome=result,
        cost=Cost(seconds=1.5, forwards=10, backwards=5), flags=list(flags),
        provenance=PROVENANCE.model_copy(
            update={"attack_options": options or {}, "adaptation": budget.model_dump()}
        ),
        fingerprint={"data": query, "weights": weights or f"{dataset} {network} {defense} {seed}"},
    )  # fmt: skip


def text_of(record: Record) -> str:
    """What a record's file holds."""
    return json.dumps(sealed(record))


def random_outcome(rng: np.random.Generator, model: str, accuracies, episodes=3, n=N) -> Outcome:
    """Verdicts near `accuracies` = (clean, before, static, reattacked), correlated by image.

    Those of the trained model depend on `model` alone.
    """
    difficulty = np.random.default_rng(1).uniform(size=(1, n))
    trained = np.random.default_rng(list(model.encode()))

    def draw(accuracy, rows, rng=rng):
        noise = 0.25 * rng.standard_normal((rows, n)) * np.sqrt(accuracy * (1 - accuracy) + 1e-9)
        return difficulty + noise < accuracy

    clean, before, static, reattacked = accuracies
    clean_before, before = draw(clean, 1, trained), draw(before, 1, trained)
    again, static = draw(reattacked, episodes), draw(static, episodes)
    adapted = draw(clean - 0.02, episodes)
    return outcome(before & clean_before, static, again & adapted, adapted, clean_before)


def accuracies(attack: str, defense: str, shots: int) -> tuple[float, float, float, float]:
    """Plausible (clean, before, static, reattacked): static scoring flatters adaptation."""
    family = FAMILIES.get(attack, ("linf-gradient", ""))[0]
    level = {"standard": 0.08, "pgd_at": 0.5, "meta_adv": 0.42}.get(defense, 0.3)
    level += {"noise": 0.35, "spatial": 0.12, "sparse": -0.05}.get(family, 0.0)
    level += 0.01 * (sum(map(ord, attack)) % 9 - 4)
    learned = {"standard": 0.02, "pgd_at": 0.03, "meta_adv": 0.09}.get(defense, 0.04)
    growth = np.log1p(shots) / np.log(11)
    before = float(np.clip(level, 0, 1))
    again = float(np.clip(level + learned * growth, 0, 1))
    static = float(np.clip(again + 0.22 * growth, 0, 1))
    return 0.97 - 0.03 * (defense != "standard"), before, static, again


def matrix(
    defenses=("standard", "pgd_at", "meta_adv"), attacks=tuple(FAMILIES), shots=(0, 1, 5, 10),
    *, methods=("finetune",), seeds=(0,), n=N, episodes=3, dataset="digits",
) -> list[Record]:  # fmt: skip
    """A full matrix of records with plausible verdicts; jsma is scored on fewer images."""
    rng = np.random.default_rng(0)
    records = []
    for defense, seed, attack, k in (
        (d, s, a, k) for d in defenses for s in seeds for a in attacks for k in shots
    ):
        trained_on = TRAINED_ON.get(defense)
        family = FAMILIES.get(attack, ("linf-gradient", ""))[0]
        unseen = None if trained_on is None else family not in trained_on
        size = min(n, 100) if attack == "jsma" else n
        for method in methods if k else methods[:1]:
            expected = accuracies(attack, defense, k)
            model = f"{dataset} {defense} {seed} {attack}"
            result = random_outcome(rng, model, expected, episodes if k else 1, size)
            records.append(
                record(
                    attack, defense, k, result, seed=seed, unseen=unseen, trained_on=trained_on,
                    method=method, dataset=dataset,
                )
            )  # fmt: skip
    return records


ATTACKS = ("fgsm", "pgd_linf", "pgd_l2", "square")
"""Of the small matrices that tests make."""


def line(frame, defense, shots, *, scope="all", over="family mean"):
    found = headline(frame)
    chosen = found[(found["defense"] == defense) & (found["shots"] == shots)]
    (row,) = chosen[(chosen["scope"] == scope) & (chosen["over"] == over)].itertuples()
    return row


def without(records, defense, attack, shots):
    return [
        each for each in records
        if (each.cell.defense, each.cell.attack, each.cell.budget.shots)
        != (defense, attack, shots)
    ]  # fmt: skip


HOSTILE = [
    "<script>alert(1)</script>", "a|b", "../../x", "\u202egnp.exe", "x" * 300, "two\nlines",
    "[link](http://example.org)", "`code`", "**bold**", "\x1b[31mred", "$\\frac{1}{0}$", "\u4e2d",
]  # fmt: skip
"""Names that a page, a file name or a terminal must survive."""


def folder(path, records):
    for each in records:
        write_record(path, each)
    return path


def one(table, defense, shots=5, threat="all"):
    chosen = table[(table["defense"] == defense) & (table["shots"] == shots)]
    (row,) = chosen[chosen["threat"] == threat].itertuples()
    return row
