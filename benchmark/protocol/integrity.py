"""That adaptation happened, to a copy, from images that are not scored: noted in every record.

Each rule that is broken fails its cell with an AuditError; the record says what was found, and is
checked again when it is read (`benchmark.results.records.Integrity`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from benchmark.adaptation.adapt import Adapted
from benchmark.artifacts.models import check_untouched
from benchmark.core.errors import AuditError, UsageError
from benchmark.core.model_batch import wide
from benchmark.evaluation.verdicts import state_hash
from benchmark.identity import fingerprint
from benchmark.protocol.inputs import Inputs
from benchmark.protocol.recording import changed_since, device_name
from benchmark.results.records import Budget, Cell, Integrity, Outcome, fell
from benchmark.results.store import is_kept, read_record, record_path

UNMOVED = "adaptation changed"
"""How the reason of a cell begins whose adaptation moved nothing, or buffers."""


def check_adaptation(cell: Cell, adapted: Sequence[Adapted], inputs: Inputs) -> Integrity:
    """What the record of a cell says of its episodes; AuditError if it may not be believed."""
    trained = inputs.trained
    base = trained.hash, check_untouched(trained)
    if not cell.budget.adapts:
        return Integrity(buffers_moved=[0.0], base=base, shared=[0], loss_fell=None)
    return Integrity(
        buffers_moved=[check_moved(trained.hash, trained.network, one) for one in adapted],
        base=base,
        shared=[check_unscored(cell, index, inputs) for index in range(len(adapted))],
        loss_fell=fell([one.support_loss for one in adapted]),
    )


def check_moved(before: str, start: nn.Module, adapted: Adapted) -> float:
    """The largest change of a buffer, which is 0.

    Args:
        before: state hash of `start`.
        start: the model that began to adapt.
        adapted: what became of it.

    Raises:
        AuditError: nothing moved, whatever the adaptation says, or a buffer did.
    """
    model = adapted.model
    if adapted.moved <= 1e-8 or state_hash(model) == before:
        raise AuditError(f"{UNMOVED} nothing: the adapted model is the trained one")
    moved = buffers_moved(start, model)
    if moved:
        raise AuditError(
            f"{UNMOVED} buffers, by up to {moved:.3g}: expected parameters to move and "
            "nothing else (running statistics are data the defender did not pay for)"
        )
    return moved


@torch.no_grad()
def buffers_moved(before: nn.Module, after: nn.Module) -> float:
    """The largest absolute change of a number in a buffer."""
    old, new = dict(before.named_buffers()), dict(after.named_buffers())
    apart = [(wide(new[name]) - wide(old[name])).abs() for name in old if old[name].numel()]
    return max((float(change.max()) for change in apart), default=0.0)


def check_unscored(cell: Cell, episode: int, inputs: Inputs) -> int:
    """How many images, by their place in the published data, are both shown and scored: 0.

    Shown are the support under every attack, and the training images that are rehearsed.
    """
    dataset = inputs.data
    scored = dataset.test.first(cell.limit).ids
    stages = range(len(cell.arrivals))
    shown = [inputs.support(cell, episode, stage).ids for stage in stages]
    shared = int(torch.isin(scored, torch.cat([*shown, dataset.train.ids])).sum())
    if shared:
        raise AuditError(f"{shared} of {len(scored)} scored images were shown in episode {episode}")
    return shared


def check_start(cell: Cell, outcome: Outcome, inputs: Inputs) -> None:
    """Where the row without adaptation is known, this one begins exactly there.

    Known is a record made by the same code and versions on a CPU: a GPU, or another torch, may
    round a logit the other way.

    Raises:
        AuditError: the trained model's verdicts are other ones than in its record of 0 shots.
    """
    alone = unadapted(cell)
    path = record_path(inputs.settings.results, alone)
    if not (cell.budget.adapts and is_kept(inputs.settings.results, alone)):
        return
    try:
        known = read_record(path)
    except UsageError:  # said where that cell is looked at
        return
    here = (fingerprint.versions(), "cpu") == (known.provenance.versions, known.provenance.device)
    fresh = not changed_since(inputs, alone, known)
    if known.outcome is None or not (
        here and fresh and device_name(inputs.settings.device) == "cpu"
    ):
        return
    same = known.outcome.before == outcome.before
    if not (same and known.outcome.clean_before == outcome.clean_before):
        raise AuditError(
            f"the trained model gives other verdicts than in its record of 0 shots ({path.name}); "
            "expected the same: delete that record and run again"
        )


def unadapted(cell: Cell) -> Cell:
    """The row of the trained model under the same attack."""
    return cell.model_copy(
        update={"budget": Budget(shots=0, method="none"), "episodes": 1, "shown": ()}
    )
