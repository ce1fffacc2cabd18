"""A dry run says the same of few cells and of very many, and never draws them all."""

from __future__ import annotations

import json

import pytest
from tiny_runs import tiny_plan

from benchmark.cli import dry_run
from benchmark.cli.dry_run import ENDS, as_json, summary
from benchmark.plan import cost as estimate
from benchmark.results.store import record_path

WORDS = "--attacks fgsm,pgd_linf[steps=2] --shots 0,1 --limit 20 --dry-run --results"


@pytest.fixture
def show(command, tmp_path):
    """What a dry run of two attacks, two budgets and some seeds prints."""

    def call(*words, seeds=2, defense="standard,pgd_at"):
        numbers = ",".join(map(str, range(seeds)))
        return command(
            "run", *WORDS.split(), tmp_path, "--defense", defense, "--seeds", numbers, *words
        ).out

    return call


@pytest.fixture
def plan():
    return tiny_plan("fgsm,pifgsm", defenses="standard,pgd_at", seeds=[0, 1, 2], shots=[0, 1])


def test_json_has_each_cell_with_its_cost_whatever_fits_in_a_piece(plan, monkeypatch):
    costs = estimate.costs(plan)
    expected = [
        {**cell.model_dump(mode="json"), "passes": cost, "seconds": round(cost * 0.01, 3)}
        for cell, cost in zip(plan.cells, costs, strict=True)
    ]
    for size in (1, 5, 24, 1000):
        monkeypatch.setattr(dry_run, "AT_ONCE", size)
        assert json.loads("".join(as_json(plan.cells, costs, 0.01))) == {"cells": expected}


def test_sums_are_those_of_the_cells(plan, tmp_path):
    path = record_path(tmp_path, plan.cells[1])
    path.parent.mkdir(parents=True)
    path.write_text("")
    costs = estimate.costs(plan)
    lines = summary(plan, costs, tmp_path)
    assert [(line.defense, line.attack) for line in lines] == [
        (defense, attack) for defense in ("standard", "pgd_at") for attack in ("fgsm", "pifgsm")
    ]
    assert sum(line.cells for line in lines) == len(plan.cells)
    assert sum(line.passes for line in lines) == sum(costs)
    assert [line.there for line in lines] == [1, 0, 0, 0]
    for line in lines:
        assert (line.cells, line.seeds, line.shots, line.images) == (6, 3, [0, 1], 40)
    assert lines[0].passes == 3 * (40 * 3 + costs[1])


def test_few_cells_have_a_line_each_and_many_are_summed_up(show, monkeypatch):
    few = show(seeds=2)
    assert few.count(" pgd_linf[steps=2] ") == 8
    monkeypatch.setattr(dry_run, "EVERY", 10)
    many = show(seeds=2)
    assert many.count(" pgd_linf[steps=2] ") == 2
    assert "--json has each cell" in many
    assert few.splitlines()[-1].split(":")[0] == many.splitlines()[-1].split(":")[0]
    assert few.splitlines()[-1].startswith("16 cells, at most ")


def test_of_very_many_lines_only_the_ends_are_shown(show, monkeypatch):
    monkeypatch.setattr(dry_run, "EVERY", 10)
    names = [f"standard[epochs={number}]" for number in range(1, 31)]
    out = show(seeds=1, defense=",".join(names))
    assert f"{60 - 2 * ENDS} more lines" in out
    assert all((f" {name} " in out) == (number < 10 or number >= 20)
               for number, name in enumerate(names))  # fmt: skip
    whole = show(seeds=1, defense=",".join(names[:20]))
    assert "more lines" not in whole
    assert all(f" {name} " in whole for name in names[:20])


def test_a_plan_is_in_the_order_of_seeds_defenses_attacks_and_budgets(plan):
    assert [(c.seed, c.defense, c.attack, c.budget.shots) for c in plan.cells] == [
        (seed, defense, attack, shots)
        for seed in (0, 1, 2)
        for defense in ("standard", "pgd_at")
        for attack in ("fgsm", "pifgsm")
        for shots in (0, 1)
    ]
