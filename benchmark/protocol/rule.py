"""The attacker who knows how the defender adapts, but not to which images.

Chen et al. 2021 (arXiv 2110.14735) call it the attack on a model space: whoever knows the rule can
adapt the trained model to images of its own, and attack what comes out. Here its own images are the
other draws of the support, whose models are there already: the other episodes of the same cell.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from benchmark.adaptation.adapt import Adapted
from benchmark.core.types import Batch
from benchmark.evaluation.verdicts import Meter, correct
from benchmark.protocol.defender import craft, streams
from benchmark.protocol.inputs import Inputs
from benchmark.results.records import Cell


def attack_other_draws(
    cells: Sequence[Cell], adapted: Sequence[Adapted], inputs: Inputs, meter: Meter
) -> list[Tensor | None]:
    """Which images each adapted model holds, bool (n,), under what was crafted on the others.

    Examples are crafted at full strength on the model of each episode, as those that are stored
    are, and shown to the models of the other episodes of its cell. None where there is none.

    Args:
        cells: one after the other, each with as many of the models as it has episodes.
        adapted: the models.
        inputs: where data, models and attacks are.
        meter: counts the passes of the attack.
    """
    held: list[Tensor | None] = []
    for cell in cells:
        own = adapted[len(held) : len(held) + cell.episodes]
        held += _held(cell, own, inputs, meter) if len(own) > 1 else [None]
    return held


def _held(cell: Cell, adapted: Sequence[Adapted], inputs: Inputs, meter: Meter) -> list[Tensor]:
    query = inputs.query(cell.limit)
    crafted = [
        craft(one.model, cell, query, inputs, meter, streams("rule", cell, index, query))
        for index, one in enumerate(adapted)
    ]
    held = [correct(one.model, query) for one in adapted]
    for index, one in enumerate(adapted):
        for other, images in enumerate(crafted):
            if other != index:
                held[index] &= correct(one.model, Batch(images, query.labels))
    return held
