"""The protocol on one page. Read this first.

run_group      every cell of one trained model under what it is shown
adapt_to       show a few attacked images and adapt; in a sequence, one attack after another
attack_again   attack the ADAPTED models again
attack_other_draws   (benchmark.protocol.rule) and by who knows the rule, not the images: asked for

Caches, locks, limits and processes stand outside: `benchmark.artifacts` and `benchmark.execution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from torch import Tensor

from benchmark.adaptation.adapt import MOST_BYTES, Adapted, adapt_all, as_one
from benchmark.adaptation.parameters import missing
from benchmark.artifacts.examples import AdversarialExamples
from benchmark.core.out_of_memory import in_parts
from benchmark.core.streams import Streams
from benchmark.core.types import Batch
from benchmark.evaluation.batch_size import one_by_one
from benchmark.evaluation.verdicts import Meter, check_reattack, correct, state_hash, survives
from benchmark.protocol.amplified import view_of
from benchmark.protocol.defender import (
    capture_again,
    craft_shown,
    distance,
    with_effort,
)
from benchmark.protocol.inputs import Inputs
from benchmark.protocol.integrity import check_adaptation, check_moved, check_start
from benchmark.protocol.pictures import FinishedCell, attacked_again, finished
from benchmark.protocol.recording import record
from benchmark.protocol.rule import attack_other_draws
from benchmark.results.records import Cell, Outcome, Verdicts

PIXELS = 64 << 20
"""Of query images attacked in one batch: a quarter of a gigabyte."""
Draws = tuple[tuple[Cell, int], ...]
"""Which models adapt together: the cell, for its budget and seed, and the episode of each."""


class Group(NamedTuple):
    """One trained model under what it is shown, with all its budgets and episodes.

    Of one data set, network, defense, seed and split, and one attack that is shown (first).
    """

    cells: tuple[Cell, ...]
    """All that the plan has, since the last bits of a logit depend on what else is in its batch."""
    todo: frozenset[Cell]
    """Those whose records are wanted: the others are finished."""

    @property
    def steps(self) -> list[tuple[Cell, ...]]:
        """What is made together, in order: the trained model, then all shots of one way to adapt.

        Without those in which nothing is to do.
        """
        found: dict[Cell, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(_but_for_shots(cell), []).append(cell)
        steps = [tuple(cells) for cells in found.values() if self.todo & set(cells)]
        budgets = list(dict.fromkeys(map(_budgets, steps)))
        return sorted(
            steps, key=lambda cells: (budgets.index(_budgets(cells)), len(cells[0].arrivals))
        )


def run_group(group: Group, inputs: Inputs, meter: Meter | None = None) -> Iterator[FinishedCell]:
    """The wanted cells of a group, each as soon as it is finished, in the order of its steps.

    `meter`: what others have spent on them already. What is shared is booked on the cell that
    needs it first.

    Raises:
        AuditError: an attack, a model or an adaptation broke a rule: the step has no result.
    """
    for _, steps in groupby(group.steps, key=_budgets):
        adapted: dict[tuple[str, ...], list[Adapted]] = {}
        for cells in steps:
            meter = meter or Meter()
            reason = cannot_run(cells[0], inputs)
            if reason is not None:
                yield from (
                    FinishedCell(record(inputs, cell, "skipped", Meter(), reason=reason))
                    for cell in cells if cell in group.todo
                )  # fmt: skip
                continue
            static, models = inputs.static(cells[0], meter), dict[tuple[Cell, int], Adapted]()
            if cells[0].budget.adapts:
                draws = tuple((cell, index) for cell in cells for index in range(cell.episodes))
                made = adapt_to(draws, cells[0].arrivals, inputs, adapted, meter)
                models = dict(zip(draws, made, strict=True))
            apart = one_by_one(inputs.attacks[cells[0].attack], static.images)
            for some in [(one,) for one in cells if one in group.todo] if apart else [cells]:
                meter = meter or Meter()
                episodes = _episodes(some, models, static, inputs, meter)
                for cell in some:
                    own, episodes = episodes[: cell.episodes], episodes[cell.episodes :]
                    if cell in group.todo:
                        yield finish(cell, static, own, inputs, meter or Meter())
                        meter = None


class EpisodeVerdicts(NamedTuple):
    """What one draw of the support led to; verdicts are bool (n,), True where still correct."""

    clean: Tensor
    static: Tensor
    reattacked: Tensor
    adapted: Adapted
    outside: int
    seen: Tensor | None = None
    """The first images of the query as they were attacked again; None where nothing adapts."""
    rule: Tensor | None = None
    """Under the attacker who knows the rule; None where nobody asked for it, or one draw is all."""


def unadapted(static: AdversarialExamples, inputs: Inputs) -> EpisodeVerdicts:
    """Nothing adapts: the adapted model is the trained one, and so are its verdicts."""
    unchanged = Adapted(inputs.trained.network, {}, 0.0, (0.0, 0.0))
    return EpisodeVerdicts(static.clean, static.robust, static.robust, unchanged, 0)


def _episodes(
    cells: Sequence[Cell], models: Mapping[tuple[Cell, int], Adapted], static: AdversarialExamples,
    inputs: Inputs, meter: Meter,
) -> list[EpisodeVerdicts]:  # fmt: skip
    """Those of all cells, one cell after the other."""
    if not cells[0].budget.adapts:
        return [unadapted(static, inputs)]
    draws = tuple((cell, index) for cell in cells for index in range(cell.episodes))
    adapted = [models[draw] for draw in draws]
    episodes = attack_again_in_parts(draws, adapted, static, inputs, meter)
    if inputs.settings.rule:
        held = attack_other_draws(cells, adapted, inputs, meter)
        episodes = [one._replace(rule=rule) for one, rule in zip(episodes, held, strict=True)]
    return episodes


def cannot_run(cell: Cell, inputs: Inputs) -> str | None:
    """Why a cell makes no sense, e.g. `needs 3 channels`; None if it does."""
    model, data = inputs.trained, inputs.data
    for name in dict.fromkeys((*cell.shown, cell.attack)):
        attack = inputs.attacks[name]
        reason = attack.cannot_run(data.shape, data.classes)
        reason = reason or inputs.attacker.lacks(attack)
        if reason is None and attack.needs_gradient and not model.gradient:
            reason = "the model gives no gradient"
        if reason is not None:
            shown = name in cell.shown
            return f"{name}, which is shown, cannot run: {reason}" if shown else reason
    if cell.budget.adapts:
        lacks = missing(model.network, cell.budget.method, inputs.query(cell.limit).images)
        return lacks and f"the model has {lacks}"
    return None


def adapt_to(
    draws: Draws, arrivals: tuple[str, ...], inputs: Inputs,
    known: dict[tuple[str, ...], list[Adapted]], meter: Meter,
) -> list[Adapted]:  # fmt: skip
    """Show the attacks of `arrivals` one after another: each meets the model the last one left.

    What is shown was crafted against the model of that moment. The models are those that every
    scored attack meets; `known` has those after fewer arrivals, or after these.
    """
    if arrivals in known:
        return known[arrivals]
    if len(arrivals) == 1:
        plain = [(cell.showing(arrivals[0]), index) for cell, index in draws]
        shown = craft_shown(plain, inputs, meter)
        views = [
            view_of(cell, index, inputs, meter, images)
            for (cell, index), images in zip(plain, shown, strict=True)
        ]
        models = adapt_all(inputs.trained.network, draws[0][0].budget, views)
        known[arrivals] = with_effort(models, views)
    else:
        before = adapt_to(draws, arrivals[:-1], inputs, known, meter)
        known[arrivals] = [
            adapt_further(cell, index, arrivals, start, inputs, meter)
            for (cell, index), start in zip(draws, before, strict=True)
        ]
    return known[arrivals]


def adapt_further(
    cell: Cell, index: int, arrivals: tuple[str, ...], start: Adapted, inputs: Inputs, meter: Meter
) -> Adapted:
    """Adapt a model that has adapted before to the last of `arrivals`, from where it is."""
    model, stage = start.model, len(arrivals) - 1
    plain = cell.showing(arrivals[-1])
    captured = capture_again(plain, index, inputs, meter, stage, model)
    view = view_of(plain, index, inputs, meter, captured, stage, model)
    (step,) = with_effort(adapt_all(model, cell.budget, [view]), [view])
    check_moved(state_hash(model), model, step)
    parameters = {**start.parameters, **step.parameters}
    return Adapted(
        start.trained, parameters, distance(start.trained, parameters), step.support_loss,
        start.effort + step.effort, step.inferred,
    )  # fmt: skip


def attack_again(
    draws: Draws, adapted: Sequence[Adapted], static: AdversarialExamples, inputs: Inputs,
    meter: Meter,
) -> list[EpisodeVerdicts]:  # fmt: skip
    """Attack the ADAPTED models, all in one batch; score clean and stored examples beside it."""
    cell = draws[0][0]
    attack, query = inputs.attack(cell.attack), inputs.query(cell.limit)
    target, everyone = as_one(adapted, len(query.labels)), query.repeat(len(draws))
    rng = Streams.joined(
        [
            Streams.named(len(query.labels), "attack", "again", cell.attack, cell.seed, index)
            for _, index in draws
        ]
    )
    clean = correct(target, everyone)
    stored = correct(target, Batch(static.images, query.labels).repeat(len(draws)))
    at_stake = clean & stored if inputs.settings.spares(cell, attack) else clean
    reattacked, again = survives(attack, inputs.searched(target), everyone, meter, rng, at_stake)
    check_reattack(again, target)
    rows = [verdicts.view(len(draws), -1) for verdicts in (clean, stored, reattacked)]
    outside = again.outside.view(len(draws), -1).sum(dim=1).tolist()
    seen = attacked_again(query, again.images, rows[0])
    return [
        EpisodeVerdicts(rows[0][i], rows[1][i], rows[2][i], one, outside[i], seen[i])
        for i, one in enumerate(adapted)
    ]


def attack_again_in_parts(
    draws: Draws, adapted: Sequence[Adapted], static: AdversarialExamples, inputs: Inputs,
    meter: Meter,
) -> list[EpisodeVerdicts]:  # fmt: skip
    """`attack_again` on as many models at once as images and weights leave room for."""
    cell = draws[0][0]
    weights = sum(tensor.nbytes for tensor in adapted[0].parameters.values())
    pixels = inputs.query(cell.limit).images.numel()
    size = max(1, min(PIXELS // max(1, pixels), MOST_BYTES // max(1, weights)))

    def again(some: Sequence[int]) -> list[EpisodeVerdicts]:
        return attack_again(
            tuple(draws[i] for i in some), [adapted[i] for i in some], static, inputs, meter
        )

    attack = inputs.attacks[cell.attack]
    together = attack.by_rows and not one_by_one(attack, static.images)
    return in_parts(range(len(draws)), size if together else 1, again)


def finish(
    cell: Cell, static: AdversarialExamples, episodes: Sequence[EpisodeVerdicts], inputs: Inputs,
    meter: Meter,
) -> FinishedCell:  # fmt: skip
    """The record of a cell, once it is sure that adaptation was what it should be."""
    adapted = [episode.adapted for episode in episodes]
    outcome = Outcome(
        clean_before=pack([static.clean]),
        before=pack([static.robust]),
        clean=pack([episode.clean for episode in episodes]),
        static=pack([episode.static for episode in episodes]),
        reattacked=pack([episode.reattacked for episode in episodes]),
        rule=pack(rule)
        if (rule := [one.rule for one in episodes if one.rule is not None])
        else None,
        moved=[one.moved for one in adapted],
        support_loss=[one.support_loss for one in adapted],
        adaptation=[one.effort for one in adapted],
        inferred=[one.inferred for one in adapted if one.inferred],
        outside=static.outside + sum(episode.outside for episode in episodes),
        integrity=check_adaptation(cell, adapted, inputs),
    )
    check_start(cell, outcome, inputs)
    made = record(inputs, cell, "done", meter, outcome=outcome)
    return finished(made, inputs.query(cell.limit).images, static.images, episodes[0].seen)


def pack(rows: list[Tensor]) -> Verdicts:
    """Verdicts of all episodes, one row each."""
    return Verdicts.pack(np.stack([row.cpu().numpy() for row in rows]))


def _but_for_shots(cell: Cell) -> Cell:
    if not cell.budget.adapts:
        return cell
    return cell.model_copy(update={"budget": cell.budget.model_copy(update={"shots": 1})})


def _budgets(cells: Sequence[Cell]) -> tuple[object, ...]:
    """Equal for steps whose models adapt alike, whichever attack scores them."""
    return tuple((cell.budget, cell.episodes) for cell in cells if cell.budget.adapts)
