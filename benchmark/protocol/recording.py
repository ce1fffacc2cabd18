"""From a cell's end to its record, and from a record to whether the cell must run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmark.artifacts.models import NEEDED, Model
from benchmark.artifacts.settings import ProgressListener, RunSettings
from benchmark.core.errors import UsageError, describe, trace
from benchmark.core.schema import Cost, short_hash
from benchmark.core.specs import Spec
from benchmark.core.types import Attack, Defense
from benchmark.evaluation.verdicts import Meter
from benchmark.identity import fingerprint
from benchmark.protocol.inputs import Inputs
from benchmark.protocol.pictures import FinishedCell
from benchmark.results.answers import same
from benchmark.results.records import (
    BY_RULE,
    Cell,
    Outcome,
    Provenance,
    Record,
    Status,
    Verdicts,
)
from benchmark.results.store import is_kept, read_record, record_path, write_record

TWO = 2
OLDER = "made before components declared their versions"


def is_finished(inputs: Inputs, cell: Cell, note: Callable[[str], None]) -> bool:
    """Whether the cell's record is there and still true; `note` is told why it is not.

    Failed cells always run again.
    """
    if not is_kept(inputs.settings.results, cell):
        return False
    try:
        found = read_record(record_path(inputs.settings.results, cell))
    except UsageError as error:
        note(str(error))
        return False
    if found.status == "failed":
        return False
    changed = changed_since(inputs, cell, found)
    if changed:
        check_file(inputs, cell, found)
        declares = "attack version" in found.fingerprint
        parts = f"{', '.join(changed)} changed" if declares else OLDER
        note(f"stale, run again: {cell} ({parts})")
    return not changed


def changed_since(inputs: Inputs, cell: Cell, found: Record) -> list[str]:
    """The parts in which things are not as they were for a record; none if it is still true.

    Records of before answers were kept are judged by what was hashed alone.
    """
    known, current = dict(found.fingerprint), fingerprint_of(inputs, cell)
    if "rule" not in current:  # that a record has more than was asked for does not matter
        known.pop("rule", None)
    if "verdicts" not in known:
        current.pop("verdicts", None)
    parts = fingerprint.changed(known, current)
    now = inputs.trained.answers
    if found.answers is not None and (now is None or not same(found.answers, now)):
        return sorted([*parts, "answers"])
    return parts


def check_file(inputs: Inputs, cell: Cell, found: Record) -> None:
    """UsageError if a record that is to be replaced is of another file, which is still there."""
    brought, other = inputs.defense.brought, found.provenance.defense_options
    known = Path(str(other.get("path", "")))
    if brought is None or known == brought.file or not (known.is_absolute() and known.is_file()):
        return
    raise UsageError(
        f"{cell.defense} in {inputs.settings.results} is {known}, and this is {brought.file}; "
        "expected one file under a name: give both in one run, which tells them apart, or other "
        "--results"
    )


def save(settings: RunSettings, cell: FinishedCell, listener: ProgressListener) -> str:
    """Write what a finished cell leaves, and tell whoever listens; returns the status.

    Raises:
        UsageError: the disk is full, or nobody may write.
    """
    made = cell.record
    write_record(settings.results, made, cell.picture)
    listener.finished(made.cell, made.status, made.reason)
    if settings.debug and made.traceback:
        listener.note(made.traceback)
    return made.status


def record(
    inputs: Inputs, cell: Cell, status: Status, meter: Meter, *,
    reason: str | None = None, outcome: Outcome | None = None,
) -> Record:  # fmt: skip
    """The record of a cell that ended `done` or `skipped`."""
    attack, model = inputs.attacks[cell.attack], inputs.trained
    known = model.trained_on
    found = {
        "status": status,
        "reason": reason,
        "unseen": None if known is None else attack.family not in known,
        "unseen_by_name": unseen_by_name(attack, model),
        "trained_on": None if known is None else sorted(known),
        "query": inputs.data.test.hash,
        "training": model.cost if inputs.defense.trains else None,
        "probes": dict(model.probes),
        "outcome": outcome,
        **(_two_classes(inputs, cell) if outcome else {}),
        "flags": [*model.flags, *chosen_on(inputs, cell), *spared(inputs, cell), *shared(inputs)],
        "answers": model.answers,
        "fingerprint": fingerprint_of(inputs, cell),
    }
    blank = _blank(cell, inputs.settings, inputs.attacks, inputs.defense, meter)
    return Record(**(vars(blank) | found))  # checked as a whole


def unseen_by_name(attack: Attack, model: Model) -> bool | None:
    """Whether training did not use this very attack; None: nobody knows.

    What is of a family that training did not use at all is unseen by name too.
    """
    if model.trained_on is not None and attack.family not in model.trained_on:
        return True
    return None if model.attacks is None else attack.name not in model.attacks


def _two_classes(inputs: Inputs, cell: Cell) -> dict[str, object]:
    """Which scored images are of the positive class, where there are two."""
    data = inputs.data
    if data.classes != TWO:
        return {}
    name = data.class_names[data.positive] if data.class_names else f"class {data.positive}"
    found = (inputs.query(cell.limit).labels == data.positive).cpu().numpy()
    return {"positive": name, "positives": Verdicts.pack(found[None])}


def chosen_on(inputs: Inputs, cell: Cell) -> list[str]:
    """The flag of a cell whose adaptation was chosen on its attack, or on one of its family."""
    choice = inputs.settings.choice(cell)
    if choice is None:
        return []
    if Spec.parse(cell.attack).name in {Spec.parse(name).name for name in choice.attacks}:
        return ["adaptation was chosen on this attack"]
    if inputs.attacks[cell.attack].family in choice.families:
        return ["adaptation was chosen on an attack of this family"]
    return []


def spared(inputs: Inputs, cell: Cell) -> list[str]:
    """The flag of a cell in which what stored examples break was not attacked again."""
    if not inputs.settings.spares(cell, inputs.attacks[cell.attack]):
        return []
    return ["attacked again only where stored examples failed: reattacked@K is robust@K"]


def shared(inputs: Inputs) -> list[str]:
    """The flag of a cell whose verdicts are those of its attack and of cheaper ones together."""
    if inputs.settings.verdicts == "all":
        return []
    return ["attacked only where cheaper attacks of its family failed: a part of their union"]


def failed_record(
    cell: Cell, settings: RunSettings, attacks: Mapping[str, Attack], defense: Defense,
    meter: Meter, error: BaseException, flags: Sequence[str] = (),
) -> Record:  # fmt: skip
    """The record of a cell that raised; it claims nothing but the reason.

    `flags` are those of its trained model, as far as there is one.
    """
    reason = describe(error)
    if flags:
        names = ", ".join(flag.partition(":")[0] for flag in flags)
        reason = f"{reason}; the model is flagged: {names}"
    told = {"reason": reason, "traceback": trace(error), "flags": [*flags]}
    return _blank(cell, settings, attacks, defense, meter).model_copy(update=told)


def _blank(
    cell: Cell, settings: RunSettings, attacks: Mapping[str, Attack], defense: Defense,
    meter: Meter,
) -> Record:  # fmt: skip
    attack, shown = attacks[cell.attack], {name: attacks[name] for name in cell.arrivals}
    return Record(
        cell=cell,
        status="failed",
        reason="did not end",
        family=attack.family,
        families_shown=[str(shown[name].family) for name in cell.arrivals if cell.budget.adapts],
        threat=f"{attack.threat}{BY_RULE if attack.by_rule else ''}",
        norm=attack.norm,
        origin=attack.origin,
        cost=Cost(seconds=meter.seconds, forwards=meter.forwards, backwards=meter.backwards),
        provenance=Provenance(
            command=settings.command,
            attack_options=fingerprint.options_of_instance(attack),
            shown_options={
                name: fingerprint.options_of_instance(shown[name]) for name in cell.shown
            },
            defense_options=fingerprint.options_of_instance(defense) | _brought(defense),
            adaptation=cell.budget.model_dump(),
            versions=fingerprint.versions(),
            commit=fingerprint.commit(),
            device=device_name(settings.device),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            about=defense.about,
            tuned=settings.choice(cell),
        ),
        fingerprint={},
    )


def fingerprint_of(inputs: Inputs, cell: Cell) -> dict[str, str]:
    """Everything the record of a cell depends on, by part."""
    attack, settings = inputs.attacks[cell.attack], inputs.settings
    others = [inputs.attacks[name] for name in cell.shown]
    shown = [(fingerprint.options_of_instance(one), fingerprint.identity(one)) for one in others]
    known = "".join(map(inputs.attacker.depends_on, (attack, *others)))
    parts = (attack, *others, inputs.defense)
    modules = set(NEEDED if inputs.defense.trains else ())
    modules.update(*map(fingerprint.modules_of, parts))
    if cell.budget.amplify and inputs.infer is not None:
        modules.add(inputs.infer.__module__)
    if cell.budget.amplify and cell.budget.knowledge == "captured" and inputs.infer_alone:
        modules.add(inputs.infer_alone.__module__)
    choice = settings.choice(cell)
    return {
        **({"reattack": settings.reattack} if settings.spares(cell, attack) else {}),
        **({"verdicts": "union"} if settings.verdicts == "union" else {}),
        **({"rule": "attacked"} if settings.rule and _draws(cell) else {}),
        **({"attacks shown": short_hash(*shown)} if shown else {}),
        **({"attacker": known} if known else {}),
        **({"tuned": short_hash(choice.model_dump_json())} if choice else {}),
        "cell": short_hash(cell.model_dump_json()),
        "attack options": short_hash(fingerprint.options_of_instance(attack)),
        "attack": fingerprint.identity(attack),
        "attack version": str(attack.version),
        "data": inputs.data.hash,
        "training": inputs.trained.training,
        "weights": inputs.trained.hash,
        "precision": settings.precision,
        "training version": str(inputs.defense.version),
        **fingerprint.declared(modules),
    }


def _draws(cell: Cell) -> bool:
    """Whether there are other draws of the support to attack."""
    return cell.budget.adapts and cell.episodes > 1


def _brought(defense: Defense) -> dict[str, str]:
    given = defense.brought
    return {"path": str(given.file), "code": given.code} if given else {}


def device_name(device: str) -> str:
    """`cpu`, or the name of the GPU."""
    if torch.device(device).type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return str(device)
