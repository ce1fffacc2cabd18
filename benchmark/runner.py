"""The protocol on one page: fill the matrix, cell by cell. Read this first.

run_matrix    every planned cell ends done, skipped or failed, and is written down
run_cell      the trained model under attack, then its episodes
run_episode   show a few attacked images, adapt, and attack the ADAPTED model again
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from baselines.adaptation import Adapted, Parameters, Show, adapt, trainable, with_parameters
from benchmark.bookkeeping import failed_record, is_finished, record
from benchmark.core.errors import AuditError, UsageError
from benchmark.core.records import Cell, Outcome, Record, Verdicts
from benchmark.core.seeding import stream
from benchmark.core.store import write_record
from benchmark.core.types import Batch
from benchmark.data import minibatches
from benchmark.evaluation import (
    Meter,
    check_reattack,
    correct,
    frozen,
    run_attack,
    state_hash,
    survives,
)
from benchmark.lab import Lab
from benchmark.models import check_untouched


class Episode(NamedTuple):
    """What one draw of the support led to; verdicts are bool (n,), True where still correct."""

    clean: Tensor
    static: Tensor
    reattacked: Tensor
    adapted: Adapted
    outside: int


def run_matrix(lab: Lab, cells: Sequence[Cell] | None = None) -> Counter[str]:
    """Run every cell (of the plan) that is not done yet; how many ended in which way.

    Each record is written when its cell ends: an interrupt loses the cell in flight, nothing else.
    """
    ended: Counter[str] = Counter()
    for cell in lab.plan.cells if cells is None else cells:
        lab.dataset(cell)
        lab.watch.cell(cell)
        status, reason = settle(lab, cell)
        lab.watch.finished(cell, status, reason)
        ended[status] += 1
    return ended


def settle(lab: Lab, cell: Cell) -> tuple[str, str | None]:
    """Bring one cell to its end. What raises in it becomes `failed`: a crash is never robustness.

    Only a UsageError goes on to the user: nothing that follows could do better.
    """
    meter = Meter()
    try:
        if is_finished(lab, cell):
            return "cached", None
        reason = cannot_run(lab, cell)
        if reason is None:
            result = run_cell(lab, cell, meter)
        else:
            result = record(lab, cell, "skipped", meter, reason=reason)
    except UsageError:
        raise
    except Exception as error:
        result = failed_record(lab, cell, meter, error)
        lab.drop_spoiled_model()
    write_record(lab.place.results, result)
    return result.status, result.reason


def cannot_run(lab: Lab, cell: Cell) -> str | None:
    """Why a cell makes no sense, e.g. `needs 3 channels`; None if it does."""
    if cell.budget.adapts and not trainable(lab.model(cell).network, cell.budget.method):
        return f"{cell.network} has no parameters for adaptation method {cell.budget.method}"
    dataset = lab.dataset(cell)
    return lab.attack(cell).cannot_run(dataset.shape, dataset.classes)


def run_cell(lab: Lab, cell: Cell, meter: Meter) -> Record:
    """Attack the trained model, then adapt and attack again in every episode."""
    trained = lab.model(cell)
    before = lab.static(cell, meter)
    if cell.budget.adapts:
        episodes = [run_episode(lab, cell, index, meter) for index in range(cell.episodes)]
    else:  # nothing adapts: the adapted model is the trained one, and so are its verdicts
        unchanged = Adapted(trained.network, 0.0, (0.0, 0.0))
        episodes = [Episode(before.clean, before.robust, before.robust, unchanged, 0)]
    check_untouched(trained)
    outcome = Outcome(
        clean_before=pack([before.clean]),
        before=pack([before.robust]),
        clean=pack([episode.clean for episode in episodes]),
        static=pack([episode.static for episode in episodes]),
        reattacked=pack([episode.reattacked for episode in episodes]),
        moved=[episode.adapted.moved for episode in episodes],
        support_loss=[episode.adapted.support_loss for episode in episodes],
        outside=before.outside + sum(episode.outside for episode in episodes),
    )
    return record(lab, cell, "done", meter, outcome=outcome)


def run_episode(lab: Lab, cell: Cell, index: int, meter: Meter) -> Episode:
    """Show a few attacked images, adapt, score the stored examples, attack again."""
    query, attack, trained = lab.query(cell), lab.attack(cell), lab.model(cell)
    adapted = adapt(trained.network, cell.budget, defender(lab, cell, index, meter))
    if adapted.moved <= 1e-8 or state_hash(adapted.model) == trained.hash:
        raise AuditError("adaptation changed nothing: the adapted model is the trained one")
    static = Batch(lab.static(cell, meter).images, query.labels)
    rng = stream("attack", "again", cell.attack, cell.seed, index)
    reattacked, again = survives(attack, adapted.model, query, meter, rng)
    check_reattack(again, adapted.model)
    return Episode(
        correct(adapted.model, query), correct(adapted.model, static), reattacked, adapted,
        again.outside,
    )  # fmt: skip


def defender(lab: Lab, cell: Cell, index: int, meter: Meter) -> Show:
    """What the defender looks at in each inner step: attacked support and as many clean images.

    `captured`: the support as it was attacked once, against the trained model. `simulated`: the
    support attacked anew in every step, against the parameters of that step.
    """
    attack, model = lab.attack(cell), lab.model(cell).network
    support = lab.support(cell, index).batch().to(lab.place.device)
    rng = stream("attack", "simulated", cell.attack, cell.seed, index)
    clean, simulated = clean_images(lab, cell, index), cell.budget.knowledge == "simulated"
    captured = None if simulated else lab.shown(cell, index, meter)

    def craft(target: torch.nn.Module) -> Tensor:
        with torch.enable_grad():
            return run_attack(attack, target, support, "examples", meter, rng).images

    def show(parameters: Parameters) -> Batch:
        shown = captured
        if shown is None:
            shown = craft(frozen(with_parameters(model, parameters)))
        rehearsed = clean()
        return Batch(
            torch.cat([shown, rehearsed.images]), torch.cat([support.labels, rehearsed.labels])
        )

    return show


def clean_images(lab: Lab, cell: Cell, index: int) -> Callable[[], Batch]:
    """Draws of clean training images, as many as are shown: every defender has those."""
    train, size = lab.dataset(cell).train, cell.budget.shots * lab.dataset(cell).classes
    rng = stream("adapt", cell.dataset, cell.seed, index)

    def draw() -> Batch:
        return next(iter(minibatches(train, size, rng))).to(lab.place.device)

    return draw


def pack(rows: list[Tensor]) -> Verdicts:
    """Verdicts of all episodes, one row each."""
    return Verdicts.pack(np.stack([row.cpu().numpy() for row in rows]))
