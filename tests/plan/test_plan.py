"""From words to cells: names, wildcards, budgets, and who wins when several say something."""

import pytest
from golden_values import OPTIONAL
from tiny_runs import run, tiny_plan

from attacks import ATTACKS
from benchmark.adaptation.adapt import DEFAULTS
from benchmark.core.errors import UsageError
from benchmark.core.specs import split
from benchmark.data.catalog import DATASETS
from benchmark.plan.cost import cost, costs
from benchmark.plan.matrix import budgets, make_plan
from benchmark.plan.request import BASE, Suite, make_request, read_suite, suites
from benchmark.plan.selection import select

SEEN = frozenset({"linf-gradient", "l2-gradient"})


def names(expression, trained_on=frozenset()):
    return [str(spec) for spec in select(expression, trained_on)]


def of_families(*families, but=()):
    """By a look at every component, without the plan."""
    found = [name for name in ATTACKS.names() if not ATTACKS.get(name).only_by_name]
    found = [name for name in found if ATTACKS.get(name).family not in but]
    return [name for name in found if not families or ATTACKS.get(name).family in families]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("square,fgsm", ["square", "fgsm"]),
        (" fgsm , square ", ["fgsm", "square"]),
        ("fgsm,square,fgsm", ["fgsm", "square"]),
        ("pgd_l2[steps=4,eps=1/2]", ["pgd_l2[eps=1/2,steps=4]"]),
        ("pgd_l2[steps=4,eps=1],pgd_l2[eps=1,steps=4]", ["pgd_l2[eps=1,steps=4]"]),
        ("pgd_l2,pgd_l2[steps=4]", ["pgd_l2", "pgd_l2[steps=4]"]),
        ("pgd_l?", ["pgd_l0", "pgd_l1", "pgd_l2"]),
        ("pgd_l?[steps=3]", ["pgd_l0[steps=3]", "pgd_l1[steps=3]", "pgd_l2[steps=3]"]),
        ("fgm_*,fgm_l1", ["fgm_l1", "fgm_l2"]),
        ("fgm_l2,fgm_*", ["fgm_l2", "fgm_l1"]),
        ("*_noise,pgd_l1", ["gaussian_noise", "salt_pepper_noise", "uniform_noise", "pgd_l1"]),
    ],
)
def test_names_and_wildcards(expression, expected):
    assert names(expression) == expected


def test_all_families_and_unseen():
    assert names("all") == of_families()
    assert names("family:l1-gradient") == of_families("l1-gradient")
    assert names("fgsm,all") == ["fgsm", *(name for name in of_families() if name != "fgsm")]
    assert names("family:spatial,family:noise") == of_families("spatial") + of_families("noise")


def test_unseen_leaves_out_the_families_trained_on_and_nothing_else():
    assert names("unseen", SEEN) == of_families(but=SEEN)
    assert names("unseen", frozenset()) == of_families(), "clean training has seen none"
    assert names("unseen", None) == of_families(), "nobody knows: none is taken for seen"
    assert names("pgd_linf,unseen", SEEN)[0] == "pgd_linf", "what is named is run"


def test_unseen_is_each_defenses_own():
    request = make_request({"defenses": "standard,pgd_at", "attacks": "unseen", "shots": [0]})
    attacked = {"standard": [], "pgd_at": []}
    for cell in make_plan(request, Suite(description="empty")).cells:
        attacked[cell.defense].append(cell.attack)
    assert attacked["standard"] == of_families()
    assert attacked["pgd_at"] == of_families(but={"linf-gradient"})


def test_nothing_left_to_attack_says_so():
    everything = frozenset(ATTACKS.get(name).family for name in ATTACKS.names())
    with pytest.raises(UsageError, match="names no attack"):
        names("unseen", everything)


# Budgets.


def texts(**scope):
    plain = {"shots": [0, 1, 5], "methods": ["finetune"], "knowledge": ["captured"]}
    return [str(budget) for budget in budgets(plain | scope)]


FINETUNE, HEAD = ("t{}-lr{:g}".format(*DEFAULTS[method]) for method in ("finetune", "head"))


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"shots": [5, 0, 5]}, ["k00", f"k05-finetune-captured-{FINETUNE}"]),
        ({"shots": [1], "methods": ["head"]}, [f"k01-head-captured-{HEAD}"]),
        ({"shots": [5], "steps": 3, "lr": 0.5}, ["k05-finetune-captured-t3-lr0.5"]),
        ({"shots": [1, 5], "steps": 0}, ["k00"]),
        ({"methods": ["none"]}, ["k00"]),
        (
            {"shots": [0, 1], "methods": ["none", "head"], "knowledge": ["captured", "simulated"]},
            ["k00", f"k01-head-captured-{HEAD}", f"k01-head-simulated-{HEAD}"],
        ),
    ],
)
def test_each_budget_once_and_those_that_do_not_adapt_are_one(scope, expected):
    assert texts(**scope) == expected


# Who wins.

SUITE = Suite(
    description="says something", attacks="fgsm,square", shots=[0, 2], episodes=2, limit=50,
    attack={"square": {"limit": 10, "episodes": 1, "shots": [0]}},
)  # fmt: skip


def facts(suite=SUITE, **flags):
    """Per attack: shots, episodes of the cells that adapt, limit."""
    found = {}
    for cell in make_plan(make_request(flags), suite).cells:
        shots, episodes, limits = found.setdefault(cell.attack, (set(), set(), set()))
        shots.add(cell.budget.shots)
        limits.add(cell.limit)
        if cell.budget.adapts:
            episodes.add(cell.episodes)
        else:
            assert cell.episodes == 1, "nothing is drawn where nothing is shown"
    return found


def test_the_suite_wins_over_the_defaults_and_its_attacks_over_the_suite():
    assert facts() == {"fgsm": ({0, 2}, {2}, {50}), "square": ({0}, set(), {10})}
    empty = facts(Suite(description="empty"), attacks="fgsm")
    assert empty == {"fgsm": (set(BASE.shots), {BASE.episodes}, {None})}


def test_costly_attacks_have_a_scope_by_what_they_declare():
    """81 passes are not more than 81; what a suite says of one attack by name goes before."""
    costly = {"passes": 81, "episodes": 1, "limit": 20}
    suite = Suite(
        description="x", attacks="pgd_linf,pgd_l2[restarts=2],square[queries=500]", shots=[1],
        episodes=3, costly=costly, attack={"square": {"episodes": 2}},
    )  # fmt: skip
    cells = make_plan(make_request({}), suite).cells
    found = {(cell.attack, cell.episodes, cell.limit) for cell in cells if cell.budget.adapts}
    assert found == {
        ("pgd_linf", 3, None), ("pgd_l2[restarts=2]", 1, 20), ("square[queries=500]", 2, None),
    }  # fmt: skip


def test_a_flag_wins_over_everything():
    found = facts(shots=[3], episodes=4, limit=7)
    assert found == {name: ({3}, {4}, {7}) for name in ("fgsm", "square")}
    partly = facts(limit=7)
    assert partly == {"fgsm": ({0, 2}, {2}, {7}), "square": ({0}, set(), {7})}
    assert facts(attacks="square[queries=9]").popitem()[1][2] == {10}, "with options it is the same"


def test_cells_come_by_seed_defense_and_attack_without_doubles():
    plan = make_plan(
        make_request(
            {"defenses": "standard,pgd_at,standard", "attacks": "square,fgsm", "seeds": [1, 0, 1],
             "shots": [1, 0], "dataset": "cifar10"}
        ), Suite(description="empty"),
    )  # fmt: skip
    found = [(c.seed, c.defense, c.attack, c.budget.shots) for c in plan.cells]
    assert found == [
        (seed, defense, attack, shots)
        for seed in (1, 0)
        for defense in ("standard", "pgd_at")
        for attack in ("square", "fgsm")
        for shots in (0, 1)
    ]
    assert {cell.network for cell in plan.cells} == {"resnet18"}
    assert plan.attacks["fgsm"].eps == pytest.approx(8 / 255), "the strength of its data set"


@pytest.mark.parametrize("name", sorted(suites()))
def test_every_suite_can_be_planned(name):
    suite = read_suite(name)
    plan = make_plan(make_request({}), suite)
    assert plan.cells
    assert suite.attack.keys() <= set(ATTACKS.names()), "an exception for no attack"


def test_the_quick_suite_runs_every_attack():
    wanted = {name for name in ATTACKS.names() if not OPTIONAL & {*ATTACKS.get(name).modules}}
    assert {split_name(text) for text in names(read_suite("quick").attacks)} >= wanted


def split_name(text):
    return split(text)[0].partition("[")[0]


# What it costs.


def test_the_cost_of_the_trained_model_is_the_attack_on_every_image():
    plan = tiny_plan("fgsm,pgd_linf[steps=3]", shots=[0], limit=30)
    assert costs(plan) == [30 * 3, 30 * 7]
    assert costs(tiny_plan("fgsm", shots=[0], limit=10_000)) == [DATASETS["digits"].sizes[2] * 3]


def test_more_of_anything_costs_more_and_what_cannot_run_nothing():
    def total(attacks="fgsm", **values):
        plain = {"shots": [20], "episodes": 2, "limit": 20, "steps": 2}
        return sum(costs(tiny_plan(attacks, **(plain | values))))

    dearer = [{"shots": [30]}, {"episodes": 3}, {"limit": 30}, {"steps": 3}]
    for values in [*dearer, {"knowledge": ["simulated"]}, {"seeds": [0, 1]}]:
        assert total(**values) > total(), values
    assert total(episodes=6) == 3 * total()
    assert total("pifgsm") == 0, "needs 3 channels"


def test_the_estimate_is_no_less_than_what_a_run_counts(tmp_path):
    plan = tiny_plan(
        "fgsm,square[queries=50]", shots=[0, 1], limit=20, steps=2,
        knowledge=["captured", "simulated"],
    )  # fmt: skip
    amplified = tiny_plan(
        "fgsm", "multi_at[epochs=1,attacks=fgsm+fgm_l2]", shots=[1], limit=20, steps=2,
        methods=["amplify[every=1]"], knowledge=["captured", "pairs", "simulated"],
    )  # fmt: skip
    assert_no_less(amplified, run(amplified, tmp_path / "amplified"))
    assert_no_less(plan, run(plan, tmp_path))


def assert_no_less(plan, done):
    for record in done.records:
        counted = record.cost.forwards + record.cost.backwards
        estimated = cost(record.cell, plan)
        assert 0 < counted <= 1.1 * estimated, str(record.cell)  # libraries look once more
