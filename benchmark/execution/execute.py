"""Where cells run: in this process, in several on this machine, or on Ray."""

from __future__ import annotations

import os
from collections import Counter, OrderedDict
from typing import NamedTuple

from benchmark.core.errors import ModelError, UsageError, unknown
from benchmark.evaluation.batch_size import COSTLY
from benchmark.execution.processes import Processes, warm_up
from benchmark.execution.ray_backend import OnRay, check_ray
from benchmark.execution.scheduler import Queue, share_out
from benchmark.execution.worker import Job, Parcel, anywhere, pack
from benchmark.plan.cost import cost
from benchmark.plan.matrix import Plan
from benchmark.protocol.cell import run_matrix
from benchmark.protocol.recording import is_finished, keep
from benchmark.protocol.workspace import Lab
from benchmark.results.records import Cell

EXECUTORS = ("auto", "here", "processes", "ray")
MOST = 8
"""Processes at most where nobody says how many: each needs about half a gigabyte."""
WORTHWHILE = 1_000_000
"""Passes up to which starting processes, some seconds each, would take longer than it saves."""
TOGETHER = 16
"""Trained models whose groups are sorted by cost together: so many are held in memory at once."""


class Team(NamedTuple):
    """Who computes."""

    executor: str = "auto"
    jobs: int | None = None
    """Processes, or tasks of Ray at once; None is as many as there is room for."""
    address: str | None = None
    """Of a Ray that runs; None starts one on this machine."""
    gpus: float | None = None
    """Share of a GPU for each task of Ray; None chooses."""


def cores() -> int:
    """Processors this process may use, `MOST` at most."""
    return min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


def check_team(team: Team) -> None:
    """Raise UsageError for an executor nobody knows, or flags that do not go together."""
    if team.executor not in EXECUTORS:
        raise unknown("executor", team.executor, EXECUTORS)
    if team.executor == "here" and team.jobs not in (None, 1):
        raise UsageError(
            f"--jobs {team.jobs} with --executor here, which is one process; "
            "expected --executor processes, or no --jobs"
        )
    if team.executor != "ray":
        for flag, value in (("--address", team.address), ("--gpus-per-task", team.gpus)):
            if value is not None:
                raise UsageError(f"{flag} is for --executor ray; expected that too, or neither")
        return
    if team.gpus is not None and not 0 <= team.gpus < float("inf"):
        raise UsageError(f"--gpus-per-task: expected a number from 0, got {team.gpus:g}")
    check_ray(team.address)


def needs_processes(team: Team) -> bool:
    """Whether it is known, before anything is planned, that other processes compute."""
    several = team.jobs is not None and team.jobs > 1
    return team.executor == "processes" or (team.executor == "auto" and several)


def units(plan: Plan) -> int:
    """How many workers have something to do: one for each group, more where one is shared."""
    shared = any(plan.attacks[cell.attack].passes >= COSTLY for cell in plan.cells)
    return MOST if shared else len(by_attack(plan.cells))


def fill(lab: Lab, job: Job, team: Team) -> Counter[str]:
    """Run the matrix; how many cells ended in which way.

    The driver trains, so that no two workers train the same model, and writes the records.
    """
    _check_brought(lab)
    if team.executor == "here" or (team.executor == "auto" and team.jobs == 1):
        return _here(lab, lab.plan.cells)
    if team.executor != "ray":
        warm_up()
    ended, pending = _look(lab)
    if not pending:
        return ended
    small = sum(cost(cell, lab.plan.attacks) for cell in pending) <= WORTHWHILE
    if team.executor == "auto" and small:
        return ended + _here(lab, pending)
    groups, parcel = in_order(lab, pending), _Parcels(lab)
    jobs = team.jobs or cores()
    if team.executor == "ray":
        with OnRay(anywhere(job), team.address, team.jobs, team.gpus or 0.0, parcel) as ray:
            return ended + share_out(lab, groups, ray)
    with Processes(job, jobs, parcel) as processes:
        return ended + share_out(lab, groups, processes)


def _check_brought(lab: Lab) -> None:
    """UsageError for a model trained elsewhere that cannot be evaluated: before anything runs.

    Whatever else is wrong with one is said in the records of its cells.
    """
    firsts: dict[object, Cell] = {}
    for cell in lab.plan.cells:
        firsts.setdefault(_trained(cell), cell)
    for cell in firsts.values():
        if not lab.plan.defenses[cell.defense].trains:
            try:
                lab.model(cell)
            except ModelError as error:
                raise UsageError(f"{cell.defense}: {error}") from error
            except Exception:
                continue


def _here(lab: Lab, cells: list[Cell]) -> Counter[str]:
    ended: Counter[str] = Counter()
    for group in Queue(lab, by_attack(cells)).each():
        ended += run_matrix(lab, group.cells)
    return ended


def _look(lab: Lab) -> tuple[Counter[str], list[Cell]]:
    """Train what is not trained; how cells ended that need no worker, and the others."""
    ended: Counter[str] = Counter()
    pending = []
    for cell in lab.plan.cells:
        lab.dataset(cell)
        lab.watch.cell(cell)
        try:
            lab.model(cell)
            finished = is_finished(lab, cell)
        except UsageError:
            raise
        except Exception:  # training failed: its cells say so
            ended += run_matrix(lab, [cell])
            continue
        if finished:
            ended[keep(lab, cell, None)] += 1
        else:
            pending.append(cell)
    return ended, pending


def by_attack(cells: list[Cell]) -> list[list[Cell]]:
    """The cells of one trained model that is shown the same attacks, together.

    Where an attack is both shown and scored they share static examples; else the adapted models.
    """
    found: dict[object, list[Cell]] = {}
    for cell in cells:
        found.setdefault((*_trained(cell), cell.arrivals), []).append(cell)
    return list(found.values())


def in_order(lab: Lab, cells: list[Cell]) -> list[list[Cell]]:
    """Groups, the most expensive first; those of a few trained models before those of the next."""
    groups = by_attack(cells)
    models = list(dict.fromkeys(_trained(cell) for cell in cells))
    place = {model: number // TOGETHER for number, model in enumerate(models)}

    def rank(group: list[Cell]) -> tuple[int, int]:
        return place[_trained(group[0])], -sum(cost(cell, lab.plan.attacks) for cell in group)

    return sorted(groups, key=rank)


def _trained(cell: Cell) -> tuple[str, str, str, int]:
    return cell.dataset, cell.network, cell.defense, cell.seed


class _Parcels:
    """Packs each trained model once, and keeps the last few."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.kept = lab, OrderedDict[object, Parcel]()

    def __call__(self, cell: Cell) -> tuple[object, Parcel]:
        key = _trained(cell)
        if key not in self.kept:
            self.kept[key] = self._pack(cell)
        while len(self.kept) > TOGETHER:
            self.kept.popitem(last=False)
        return key, self.kept[key]

    def _pack(self, cell: Cell) -> Parcel:
        dataset = self.lab.dataset(cell, "test")
        try:
            return pack(dataset, self.lab.model(cell))
        except UsageError:
            raise
        except Exception:  # the worker meets the same, and its cells say so
            return Parcel(dataset, b"")
