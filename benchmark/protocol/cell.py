"""The protocol on one page: fill the matrix, cell by cell. Read this first.

run_matrix    every planned cell ends done, skipped or failed, and is written down
run_cell      the trained model under attack, then its episodes
run_episodes  all episodes and budgets at once: adapt, then attack the adapted models
adapt_to      show a few attacked images and adapt; in a sequence, one attack after another
attack_again  attack the ADAPTED models again
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from benchmark.adaptation.adapt import Adapted, adapt_all, as_one
from benchmark.adaptation.parameters import missing
from benchmark.core.errors import OverLimit, UsageError, contained
from benchmark.core.isolation import kept
from benchmark.core.notes import heard_by
from benchmark.core.out_of_memory import in_parts
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import (
    Meter,
    check_reattack,
    correct,
    state_hash,
    survives,
)
from benchmark.execution.limits import limited
from benchmark.protocol.defender import defender, distance, with_effort
from benchmark.protocol.integrity import check_moved, check_start, look_into
from benchmark.protocol.pictures import Ending, attacked_again, ending
from benchmark.protocol.recording import failed_record, is_finished, keep, record
from benchmark.protocol.workspace import Lab
from benchmark.results.records import Cell, Outcome, Verdicts


class Episode(NamedTuple):
    """What one draw of the support led to; verdicts are bool (n,), True where still correct."""

    clean: Tensor
    static: Tensor
    reattacked: Tensor
    adapted: Adapted
    outside: int
    seen: Tensor | None = None
    """The first images of the query as they were attacked again; None where nothing adapts."""


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


def settle(lab: Lab, cell: Cell, *, look: bool = True) -> Ending | None:
    """Bring one cell to its end. What raises in it becomes `failed`: a crash is never robustness.

    Only a UsageError goes on to the user: nothing that follows could do better. None if the record
    that is wanted lies on the disk already; whoever knows better does not `look`.
    """
    meter = Meter()
    try:
        with contained(), kept():  # what a model or an attack sets is not for the next cell
            return None if look and is_finished(lab, cell) else _end(lab, cell, meter)
    except UsageError:
        raise
    except (Exception, OverLimit) as error:
        result = failed_record(lab, cell, meter, error)
        lab.drop_spoiled_model()
        return Ending(result)


def _end(lab: Lab, cell: Cell, meter: Meter) -> Ending:
    lab.model(cell)  # training is not the cell's time
    with limited(lab.place.limits), heard_by(lab.watch.note):
        reason = cannot_run(lab, cell)
        if reason is not None:
            return Ending(record(lab, cell, "skipped", meter, reason=reason))
        return run_cell(lab, cell, meter)


def cannot_run(lab: Lab, cell: Cell) -> str | None:
    """Why a cell makes no sense, e.g. `needs 3 channels`; None if it does."""
    model, dataset = lab.model(cell), lab.dataset(cell)
    for name in dict.fromkeys((*cell.shown, cell.attack)):
        attack, shown = lab.attack(cell.showing(name)), name in cell.shown
        reason = attack.cannot_run(dataset.shape, dataset.classes)
        if reason is None and attack.needs_gradient and not model.gradient:
            reason = "the model gives no gradient"
        if reason is not None:
            return f"{name}, which is shown, cannot run: {reason}" if shown else reason
    if cell.budget.adapts:
        lacks = missing(model.network, cell.budget.method, lab.query(cell).images)
        return lacks and f"the model has {lacks}"
    return None


def run_cell(lab: Lab, cell: Cell, meter: Meter) -> Ending:
    """Attack the trained model, then adapt and attack again in every episode."""
    trained = lab.model(cell)
    before = lab.static(cell, meter)
    if cell.budget.adapts:
        episodes = lab.episodes(cell, lambda cells: run_episodes(lab, cells, meter))
    else:  # nothing adapts: the adapted model is the trained one, and so are its verdicts
        unchanged = Adapted(trained.network, {}, 0.0, (0.0, 0.0))
        episodes = [Episode(before.clean, before.robust, before.robust, unchanged, 0)]
    adapted = [episode.adapted for episode in episodes]
    integrity = look_into(lab, cell, trained, adapted)
    outcome = Outcome(
        clean_before=pack([before.clean]),
        before=pack([before.robust]),
        clean=pack([episode.clean for episode in episodes]),
        static=pack([episode.static for episode in episodes]),
        reattacked=pack([episode.reattacked for episode in episodes]),
        moved=[one.moved for one in adapted],
        support_loss=[one.support_loss for one in adapted],
        adaptation=[one.effort for one in adapted],
        outside=before.outside + sum(episode.outside for episode in episodes),
        integrity=integrity,
    )
    check_start(lab, cell, outcome)
    made = record(lab, cell, "done", meter, outcome=outcome)
    return ending(made, lab.query(cell).images, before.images, episodes[0].seen)


def run_episodes(lab: Lab, cells: Sequence[Cell], meter: Meter) -> dict[Cell, list[Episode]]:
    """Every episode of every budget: adapt all models, then attack them again."""
    draws = [(cell, index) for cell in cells for index in range(cell.episodes)]
    adapted = adapt_to(lab, draws, cells[0].arrivals, meter)
    ended: dict[Cell, list[Episode]] = {cell: [] for cell in cells}

    def again(some: Sequence[int]) -> list[Episode]:
        return attack_again(lab, [draws[i] for i in some], [adapted[i] for i in some], meter)

    size = lab.models_at_once(cells[0], adapted)
    episodes = in_parts(range(len(draws)), size, again)
    for (cell, _), episode in zip(draws, episodes, strict=True):
        ended[cell].append(episode)
    return ended


def adapt_to(
    lab: Lab, draws: Sequence[tuple[Cell, int]], arrivals: tuple[str, ...], meter: Meter
) -> list[Adapted]:
    """Show the attacks of `arrivals` one after another: each meets the model the last one left.

    What is shown was crafted against the model of that moment. The models are those that every
    scored attack meets; made once for all of them.
    """

    def first() -> list[Adapted]:
        shows = [defender(lab, cell.showing(arrivals[0]), index, meter) for cell, index in draws]
        adapted = adapt_all(lab.model(draws[0][0]).network, draws[0][0].budget, shows)
        return with_effort(adapted, shows)

    def next_() -> list[Adapted]:
        before = adapt_to(lab, draws, arrivals[:-1], meter)
        return [
            adapt_further(lab, cell, index, arrivals, start, meter)
            for (cell, index), start in zip(draws, before, strict=True)
        ]

    return lab.adapted(draws, arrivals, first if len(arrivals) == 1 else next_)


def adapt_further(
    lab: Lab, cell: Cell, index: int, arrivals: tuple[str, ...], start: Adapted, meter: Meter
) -> Adapted:
    """Adapt a model that has adapted before to the last of `arrivals`, from where it is."""
    stage, budget, model = len(arrivals) - 1, cell.budget, start.model
    shows = [defender(lab, cell.showing(arrivals[-1]), index, meter, stage, model)]
    (step,) = with_effort(adapt_all(model, budget, shows), shows)
    check_moved(state_hash(model), model, step)
    parameters = {**start.parameters, **step.parameters}
    return Adapted(
        start.trained, parameters, distance(start.trained, parameters), step.support_loss,
        start.effort + step.effort,
    )  # fmt: skip


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
    clean = correct(target, everyone)
    static = correct(target, Batch(stored, query.labels).repeat(len(draws)))
    at_stake = clean & static if lab.place.spares(cell, lab.attack(cell)) else clean
    reattacked, again = survives(
        lab.attack(cell), lab.quick(target), everyone, meter, rng, at_stake
    )
    check_reattack(again, target)
    rows = [verdicts.view(len(draws), -1) for verdicts in (clean, static, reattacked)]
    outside = again.outside.view(len(draws), -1).sum(dim=1).tolist()
    seen = attacked_again(query, again.images, rows[0])
    return [
        Episode(rows[0][i], rows[1][i], rows[2][i], one, outside[i], seen[i])
        for i, one in enumerate(adapted)
    ]


def pack(rows: list[Tensor]) -> Verdicts:
    """Verdicts of all episodes, one row each."""
    return Verdicts.pack(np.stack([row.cpu().numpy() for row in rows]))
