"""The worst case of a family of attacks, at the cost of its cheapest: `run --verdicts union`.

Attacks of one family run one after the other, the cheapest first, and each meets only the images
that those before it left standing. What the union of their verdicts is does not change, image by
image; the verdicts of one attack alone are no longer its own, and its record says so.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmark.artifacts.examples import AdversarialExamples
from benchmark.core.model_access import Settled
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import Meter, correct, run_attack, survives
from benchmark.protocol.group import Group, cannot_run, finish, unadapted
from benchmark.protocol.inputs import Inputs
from benchmark.protocol.pictures import FinishedCell
from benchmark.protocol.recording import record
from benchmark.results.records import Cell


def run_family(group: Group, inputs: Inputs, meter: Meter | None = None) -> Iterator[FinishedCell]:
    """The wanted cells of a family against the model as it was trained, the cheapest first.

    Args:
        group: in which nothing adapts.
        inputs: what it is evaluated with.
        meter: what others have spent on the first cell already.

    Raises:
        AuditError: an attack or the model broke a rule: the cell has no result.
    """
    standing = torch.zeros(0, dtype=torch.bool)
    for (cell,) in group.steps:
        meter = meter or Meter()
        reason = cannot_run(cell, inputs)
        if reason is not None:
            yield FinishedCell(record(inputs, cell, "skipped", meter, reason=reason))
            continue
        query = inputs.query(cell.limit)
        clean = correct(inputs.trained.network, query)
        known = min(len(standing), len(clean))
        left = torch.cat([standing[:known].to(clean), clean[known:]])
        made = _attacked(cell, inputs, query, clean, left, meter)
        yield finish(cell, made, [unadapted(made, inputs)], inputs, meter)
        standing = torch.cat([made.robust, standing[len(clean) :].to(clean)])
        meter = None


def _attacked(
    cell: Cell, inputs: Inputs, query: Batch, clean: Tensor, left: Tensor, meter: Meter
) -> AdversarialExamples:
    """What an attack leaves of the images that are `left`, bool (n,): its own and earlier verdicts.

    One that deals random numbers to the batch as it comes meets all images, or it would find
    others than alone; where they are dealt to places, it is asked nothing of those not `left`.
    """
    attack, network = inputs.attack(cell.attack), inputs.trained.network
    rng, target = inputs.static_request(cell).rng, inputs.searched(network)
    if attack.by_image:
        held, attacked = survives(attack, target, query, meter, rng, left)
        images = query.images.clone()
        images[left] = attacked.images
    else:
        target = Settled(target, ~left) if attack.by_place else target
        attacked = run_attack(attack, target, query, "verdict", meter, rng)
        images = attacked.images
        held = left & correct(network, Batch(images, query.labels))
    return AdversarialExamples(images, clean, held, int(attacked.outside.sum()))
