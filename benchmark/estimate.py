"""What a plan will cost: passes from what attacks declare, seconds from a short measurement."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from rich.markup import escape
from rich.table import Table
from torch.nn.functional import cross_entropy

from baselines.networks import build_network
from benchmark.core.records import Cell
from benchmark.core.seeding import stream
from benchmark.core.store import record_path
from benchmark.core.types import Attack
from benchmark.dataset_facts import DATASETS
from benchmark.lab import POOL
from benchmark.plan import Plan

PROBE = 100


def cost(cell: Cell, attack: Attack) -> int:
    """Passes of images through the network, at most: attacks on support and query of all episodes.

    The static examples are booked on the cell that does not adapt. What makes the true number
    smaller: shown images shared between cells, broken images leaving early, attacks giving up.
    """
    facts = DATASETS[cell.dataset]
    if attack.cannot_run(facts.shape, facts.classes):
        return 0
    query = min(cell.limit or facts.sizes[2], facts.sizes[2])
    if not cell.budget.adapts:
        return query * attack.passes
    support = cell.budget.shots * facts.classes
    simulated = cell.budget.knowledge == "simulated"
    times = cell.budget.steps + 1  # and once to note the loss before adapting
    crafted = support * times if simulated else max(support, POOL * facts.classes)
    adapting = 4 * support * cell.budget.steps
    return cell.episodes * ((crafted + query) * attack.passes + adapting)


def costs(plan: Plan) -> list[int]:
    """The cost of each cell of a plan, in its order; training is not counted."""
    return [cost(cell, plan.attacks[cell.attack]) for cell in plan.cells]


def seconds_per_pass(plan: Plan, device: str) -> float:
    """Measured on the network of the plan with its initial weights, forward and backward."""
    cell = plan.cells[0]
    facts = DATASETS[cell.dataset]
    rng = stream("estimate")
    network = build_network(cell.network, facts.shape, facts.classes, rng).to(device).eval()
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


def table(plan: Plan, costs: list[int], seconds: float, results: Path) -> Table:
    """A line per cell."""
    grid = Table(box=None, header_style="bold")
    for column in ("defense", "seed", "attack", "budget", "episodes", "images", "passes",
                   "seconds", "record"):  # fmt: skip
        grid.add_column(column, overflow="fold")
    for cell, passes in zip(plan.cells, costs, strict=True):
        size = DATASETS[cell.dataset].sizes[2]
        there = record_path(results, cell).is_file()
        grid.add_row(
            escape(cell.defense), str(cell.seed), escape(cell.attack), str(cell.budget),
            str(cell.episodes), str(min(cell.limit or size, size)), f"{passes:,}",
            f"{passes * seconds:.1f}", "there" if there else "",
        )  # fmt: skip
    return grid


def total(costs: list[int], seconds: float) -> str:
    """The sum in one line."""
    return (
        f"{len(costs)} cells, at most {sum(costs):,} passes: about {sum(costs) * seconds:,.0f} s "
        f"here at {seconds * 1e6:.1f} us a pass, training not counted"
    )
