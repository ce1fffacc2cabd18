"""From a cell's end to its record, and from a record to whether the cell must run again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmark.core.errors import UsageError, describe, trace
from benchmark.core.schema import Cost
from benchmark.core.specs import Spec
from benchmark.core.types import Defense
from benchmark.evaluation.verdicts import Meter
from benchmark.identity import fingerprint
from benchmark.protocol.pictures import Ending
from benchmark.protocol.workspace import Lab
from benchmark.results.answers import same
from benchmark.results.records import Cell, Outcome, Provenance, Record, Status
from benchmark.results.store import is_kept, read_record, record_path, write_record


def is_finished(lab: Lab, cell: Cell) -> bool:
    """Whether the cell's record is there and still true. Failed cells always run again."""
    if not is_kept(lab.place.results, cell):
        return False
    try:
        found = read_record(record_path(lab.place.results, cell))
    except UsageError as error:
        lab.watch.note(str(error))
        return False
    if found.status == "failed":
        return False
    changed = changed_since(lab, cell, found)
    if changed:
        check_file(lab, cell, found)
        lab.watch.note(f"stale, run again: {cell} ({', '.join(changed)} changed)")
    return not changed


def changed_since(lab: Lab, cell: Cell, found: Record) -> list[str]:
    """The parts in which things are not as they were for a record; none if it is still true.

    Records of before answers were kept are judged by what was hashed alone.
    """
    parts = fingerprint.changed(found.fingerprint, lab.fingerprint(cell))
    now = lab.model(cell).answers
    if found.answers is not None and (now is None or not same(found.answers, now)):
        return sorted([*parts, "answers"])
    return parts


def check_file(lab: Lab, cell: Cell, found: Record) -> None:
    """UsageError if a record that is to be replaced is of another file, which is still there."""
    brought, other = lab.plan.defenses[cell.defense].brought, found.provenance.defense_options
    known = Path(str(other.get("path", "")))
    if brought is None or known == brought.file or not (known.is_absolute() and known.is_file()):
        return
    raise UsageError(
        f"{cell.defense} in {lab.place.results} is {known}, and this is {brought.file}; expected "
        "one file under a name: give both in one run, which tells them apart, or other --results"
    )


def keep(lab: Lab, cell: Cell, ending: Ending | None) -> str:
    """Write what a cell that ended left and tell whoever watches; None was `cached`.

    Returns the status. UsageError: the disk is full, or nobody may write.
    """
    if ending is None:
        lab.watch.finished(cell, "cached", None)
        return "cached"
    result = ending.record
    write_record(lab.place.results, result, ending.picture)
    lab.watch.finished(cell, result.status, result.reason)
    if lab.place.debug and result.traceback:
        lab.watch.note(result.traceback)
    return result.status


def record(
    lab: Lab, cell: Cell, status: Status, meter: Meter, *,
    reason: str | None = None, outcome: Outcome | None = None,
) -> Record:  # fmt: skip
    """The record of a cell that ended `done` or `skipped`."""
    attack, model = lab.attack(cell), lab.model(cell)
    known = model.trained_on
    found = {
        "status": status,
        "reason": reason,
        "unseen": None if known is None else attack.family not in known,
        "trained_on": None if known is None else sorted(known),
        "query": lab.dataset(cell).test.hash,
        "training": model.cost,
        "probes": dict(model.probes),
        "outcome": outcome,
        "flags": [*model.flags, *chosen_on(lab, cell), *spared(lab, cell)],
        "answers": model.answers,
        "fingerprint": lab.fingerprint(cell),
    }
    return Record(**(vars(_blank(lab, cell, meter)) | found))  # checked as a whole


def chosen_on(lab: Lab, cell: Cell) -> list[str]:
    """The flag of a cell whose adaptation was chosen on its attack, or on one of its family."""
    choice = lab.place.choice(cell)
    if choice is None:
        return []
    if Spec.parse(cell.attack).name in {Spec.parse(name).name for name in choice.attacks}:
        return ["adaptation was chosen on this attack"]
    if lab.attack(cell).family in choice.families:
        return ["adaptation was chosen on an attack of this family"]
    return []


def spared(lab: Lab, cell: Cell) -> list[str]:
    """The flag of a cell in which what stored examples break was not attacked again."""
    if not lab.place.spares(cell, lab.attack(cell)):
        return []
    return ["attacked again only where stored examples failed: reattacked@K is robust@K"]


def failed_record(lab: Lab, cell: Cell, meter: Meter, error: BaseException) -> Record:
    """The record of a cell that raised; it claims nothing but the reason."""
    flags, reason = lab.flags(cell), describe(error)
    if flags:
        names = ", ".join(flag.partition(":")[0] for flag in flags)
        reason = f"{reason}; the model is flagged: {names}"
    told = {"reason": reason, "traceback": trace(error), "flags": flags}
    return _blank(lab, cell, meter).model_copy(update=told)


def _blank(lab: Lab, cell: Cell, meter: Meter) -> Record:
    attack, defense = lab.attack(cell), lab.plan.defenses[cell.defense]
    shown = {name: lab.attack(cell.showing(name)) for name in cell.arrivals}
    return Record(
        cell=cell,
        status="failed",
        reason="did not end",
        family=attack.family,
        families_shown=[str(shown[name].family) for name in cell.arrivals if cell.budget.adapts],
        threat=str(attack.threat),
        norm=attack.norm,
        origin=attack.origin,
        cost=Cost(seconds=meter.seconds, forwards=meter.forwards, backwards=meter.backwards),
        provenance=Provenance(
            command=lab.place.command,
            attack_options=fingerprint.options_of_instance(attack),
            shown_options={
                name: fingerprint.options_of_instance(shown[name]) for name in cell.shown
            },
            defense_options=fingerprint.options_of_instance(defense) | _brought(defense),
            adaptation=cell.budget.model_dump(),
            versions=fingerprint.versions(),
            commit=fingerprint.commit(),
            device=device_name(lab.place.device),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            tuned=lab.place.choice(cell),
        ),
        fingerprint={},
    )


def _brought(defense: Defense) -> dict[str, str]:
    given = defense.brought
    return {"path": str(given.file), "code": given.code} if given else {}


def device_name(device: str) -> str:
    """`cpu`, or the name of the GPU."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return str(device)
