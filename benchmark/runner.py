"""The protocol on one page: fill the matrix, cell by cell. Read this first.

run_matrix    every planned cell ends done, skipped or failed, and is written down
run_cell      the trained model under attack, then its episodes
run_episodes  show a few attacked images, adapt, all episodes and budgets at once
attack_again  attack the ADAPTED models again
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from baselines.adaptation import (
    Adapted,
    Show,
    adapt_all,
    as_one,
    trainable,
    with_parameters,
)
from baselines.stacked import Parameters
from benchmark.bookkeeping import failed_record, is_finished, keep, record
from benchmark.core.errors import AuditError, OverLimit, UsageError
from benchmark.core.records import Cell, Outcome, Record, Verdicts
from benchmark.core.seeding import stream
from benchmark.core.streams import Streams
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
from benchmark.limits import limited
from benchmark.models import Model, check_untouched


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
        ended[keep(lab, cell, settle(lab, cell))] += 1
    return ended


def settle(lab: Lab, cell: Cell, *, look: bool = True) -> Record | None:
    """Bring one cell to its end. What raises in it becomes `failed`: a crash is never robustness.

    Only a UsageError goes on to the user: nothing that follows could do better. None if the record
    that is wanted lies on the disk already; whoever knows better does not `look`.
    """
    meter = Meter()
    try:
        if look and is_finished(lab, cell):
            return None
        reason = cannot_run(lab, cell)
        if reason is not None:
            return record(lab, cell, "skipped", meter, reason=reason)
        lab.model(cell)  # training is not the cell's time
        with limited(lab.place.limits):
            return run_cell(lab, cell, meter)
    except UsageError:
        raise
    except (Exception, OverLimit) as error:
        result = failed_record(lab, cell, meter, error)
        lab.drop_spoiled_model()
        return result


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
        episodes = lab.episodes(cell, lambda cells: run_episodes(lab, cells, meter))
        check_adapted(trained, episodes)
    else:  # nothing adapts: the adapted model is the trained one, and so are its verdicts
        unchanged = Adapted(trained.network, {}, 0.0, (0.0, 0.0))
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


def run_episodes(lab: Lab, cells: Sequence[Cell], meter: Meter) -> dict[Cell, list[Episode]]:
    """Every episode of every budget: show a few attacked images, adapt all models, attack again."""
    draws = [(cell, index) for cell in cells for index in range(cell.episodes)]
    shows = [defender(lab, cell, index, meter) for cell, index in draws]
    adapted = adapt_all(lab.model(cells[0]).network, cells[0].budget, shows)
    ended: dict[Cell, list[Episode]] = {cell: [] for cell in cells}
    size = lab.models_at_once(cells[0])
    for first in range(0, len(draws), size):
        some = slice(first, first + size)
        episodes = attack_again(lab, draws[some], adapted[some], meter)
        for (cell, _), episode in zip(draws[some], episodes, strict=True):
            ended[cell].append(episode)
    return ended


def attack_again(
    lab: Lab, draws: Sequence[tuple[Cell, int]], adapted: Sequence[Adapted], meter: Meter
) -> list[Episode]:
    """Attack the ADAPTED models, all in one batch; score clean and stored examples beside it."""
    cell = draws[0][0]
    query, stored = lab.query(cell), lab.static(cell, meter).images
    target, everyone = as_one(adapted, len(query.labels)), query.repeat(len(draws))
    rng = Streams.joined(
        [
            Streams.named(len(query.labels), "attack", "again", cell.attack, cell.seed, index)
            for _, index in draws
        ]
    )
    reattacked, again = survives(lab.attack(cell), lab.quick(target), everyone, meter, rng)
    check_reattack(again, target)
    clean = correct(target, everyone)
    static = correct(target, Batch(stored, query.labels).repeat(len(draws)))
    rows = [verdicts.view(len(draws), -1) for verdicts in (clean, static, reattacked)]
    outside = again.outside.view(len(draws), -1).sum(dim=1).tolist()
    return [
        Episode(rows[0][i], rows[1][i], rows[2][i], one, outside[i])
        for i, one in enumerate(adapted)
    ]


def check_adapted(trained: Model, episodes: Sequence[Episode]) -> None:
    """Raise AuditError if an adaptation changed nothing, whatever it says it moved."""
    for episode in episodes:
        adapted = episode.adapted
        if adapted.moved <= 1e-8 or state_hash(adapted.model) == trained.hash:
            raise AuditError("adaptation changed nothing: the adapted model is the trained one")


def defender(lab: Lab, cell: Cell, index: int, meter: Meter) -> Show:
    """What the defender looks at in each inner step: attacked support and as many clean images.

    `captured`: the support as it was attacked once, against the trained model. `simulated`: the
    support attacked anew in every step, against the parameters of that step.
    """
    attack, model = lab.attack(cell), lab.model(cell).network
    support = lab.support(cell, index).batch().to(lab.place.device)
    rng = Streams.named(len(support.labels), "attack", "simulated", cell.attack, cell.seed, index)
    clean, simulated = clean_images(lab, cell, index), cell.budget.knowledge == "simulated"
    captured = None if simulated else lab.shown(cell, index, meter)

    def craft(target: torch.nn.Module) -> Tensor:
        with torch.enable_grad():
            return run_attack(attack, lab.quick(target), support, "examples", meter, rng).images

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
