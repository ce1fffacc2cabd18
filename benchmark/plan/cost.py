"""What a plan will cost: passes from what attacks declare, seconds from a short measurement."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from attacks.build import strengths_of
from attacks.threats.pose import POSES
from baselines.networks.zoo import build_network
from benchmark.core.copying import copied
from benchmark.core.seeding import stream
from benchmark.core.threats.options import SHARES, Amplify
from benchmark.data.catalog import Facts
from benchmark.data.splits import POOL
from benchmark.plan.matrix import Plan
from benchmark.results.records import Cell

PROBE = 100
MINUTES, HOURS, DAYS = 120, 5400, 2 * 86400
"""Seconds from which a time is told in them."""
CHEAP = 640_000_000
"""Numbers in all images that pass which take no hour on any network: nothing is measured then."""


def cost(cell: Cell, plan: Plan) -> int:
    """Passes of images through the network, at most: attacks on support and query of all episodes.

    The static examples are booked on the cell that does not adapt, adapting on every cell. What
    makes the true number smaller: shown images and adapted models shared between cells, broken
    images leaving early, attacks giving up.
    """
    facts, attack = plan.facts[cell.dataset], plan.attacks[cell.attack]
    arrivals = [plan.attacks[name] for name in cell.arrivals]
    if any(one.cannot_run(facts.shape, facts.classes) for one in (attack, *arrivals)):
        return 0
    scored = scored_images(cell, facts)
    query = min(cell.limit or scored, scored)
    if not cell.budget.adapts:
        return query * attack.passes
    support = cell.budget.shots * facts.classes
    simulated = cell.budget.knowledge == "simulated"
    numbers = cell.budget.amplify
    times = cell.budget.steps + 1  # and once to note the loss before adapting
    times = 1 + -(-times // numbers.every) if numbers else times
    crafted = support * times if simulated else max(support, POOL * facts.classes)
    crafted = 0 if cell.budget.knowledge == "clean" else crafted
    alone = numbers and numbers.infers and cell.budget.knowledge == "captured"
    begun = POSES * support if alone else 0
    begun += _calibrated(numbers) + support if numbers and numbers.infers else 0
    step = _amplified(cell, numbers, plan) if numbers else 4 * support
    shown = sum(begun + crafted * one.passes + step * cell.budget.steps for one in arrivals)
    return cell.episodes * (shown + query * attack.passes)


def _amplified(cell: Cell, numbers: Amplify, plan: Plan) -> int:
    """Passes of a step of `amplify`: own images attacked in two ways, and a look at all."""
    strengths = strengths_of(cell.dataset, plan.facts[cell.dataset].shape)
    rehearsed = plan.defenses[cell.defense].training_attacks(strengths) or ()
    inside = max(2 + numbers.tries, 2 + numbers.places, 2 * numbers.ascent + 1)
    rehearsal = max((one.passes for one in rehearsed), default=0)
    own = numbers.own * (2 + inside) if numbers.infers else 0
    return own + numbers.rehearsed * (2 + rehearsal) + numbers.shown * 2


def _calibrated(numbers: Amplify) -> int:
    """Passes that find out how large norms may be."""
    return len(SHARES) * numbers.own * (2 * numbers.ascent + 2)


def scored_images(cell: Cell, facts: Facts) -> int:
    """All that the split of a cell has; about half of the validation images are shown instead."""
    _, validation, test = facts.sizes
    return test if cell.split == "test" else validation // 2


def costs(plan: Plan) -> list[int]:
    """The cost of each cell of a plan, in its order; training is not counted."""
    known: dict[tuple[object, ...], int] = {}  # a plan repeats itself for every defense and seed
    found = []
    for cell in plan.cells:
        key = (
            cell.arrivals, cell.attack, cell.budget, cell.episodes, cell.limit, cell.split,
            cell.dataset,
        )  # fmt: skip
        if key not in known:
            known[key] = cost(cell, plan)
        found.append(known[key])
    return found


def seconds_per_pass(plan: Plan, device: str) -> float:
    """Measured on the first model of the plan, forward and backward."""
    cell = plan.cells[0]
    facts = plan.facts[cell.dataset]
    rng = stream("estimate")
    network = _network(plan, cell, rng).to(device).eval()
    images = torch.rand((PROBE, *facts.shape), generator=rng).to(device).requires_grad_()
    labels = torch.zeros(PROBE, dtype=torch.int64, device=device)
    rounds, begin = 0, 0.0
    while rounds <= 3 or time.perf_counter() - begin < 0.3:
        if rounds == 1:  # the first pass sets things up
            begin = time.perf_counter()
        loss = cross_entropy(network(images), labels, reduction="sum")
        torch.autograd.grad(loss, images)[0].sum().item()
        rounds += 1
    return (time.perf_counter() - begin) / (rounds - 1) / (2 * PROBE)


def _network(plan: Plan, cell: Cell, rng: torch.Generator) -> nn.Module:
    """The model that was given, or a network with its initial weights."""
    defense, facts = plan.defenses[cell.defense], plan.facts[cell.dataset]
    if defense.brings_network:
        with defense.brought.entered() if defense.brought else nullcontext():
            return copied(defense.make_network())
    return build_network(plan.own.network(cell), facts.shape, facts.classes, rng)


def total(costs: list[int], seconds: float) -> str:
    """The sum in one line."""
    return (
        f"{len(costs):,} cells, at most {sum(costs):,} passes: about "
        f"{in_words(sum(costs) * seconds)} here at {seconds * 1e6:.1f} us a pass, training not "
        "counted"
    )


def in_words(seconds: float) -> str:
    """A time as people say it.

    >>> in_words(59.4), in_words(7000), in_words(200_000)
    ('59 s', '1.9 hours', '2.3 days')
    """
    if seconds < MINUTES:
        return f"{seconds:,.0f} s"
    if seconds < HOURS:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < DAYS else f"{seconds / 86400:,.1f} days"


def warning(plan: Plan, device: str) -> str:
    """One line on a plan that takes an hour or more, and how to make it small; else nothing."""
    passes = sum(costs(plan))
    if passes * math.prod(plan.facts[plan.cells[0].dataset].shape) < CHEAP:
        return ""
    seconds = passes * seconds_per_pass(plan, device)
    if seconds < HOURS:
        return ""
    return (
        f"this takes up to {in_words(seconds)} here, training not counted: --dry-run shows what; "
        "--limit 200, --shots 0 or fewer --attacks make it small; it may be stopped and goes on"
    )
