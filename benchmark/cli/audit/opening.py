"""Opens a model for its audit, goes on where an audit stopped, and keeps what each part found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from attacks import ATTACKS
from attacks.build import strengths_of
from benchmark.artifacts.locks import exclusive
from benchmark.artifacts.settings import ProgressListener
from benchmark.audit import parts as known
from benchmark.audit.subject import Subject
from benchmark.cli.audit.running import at_most, run_parts
from benchmark.core.errors import AuditError, OverLimit, UsageError, describe
from benchmark.core.schema import short_hash
from benchmark.core.types import Defense
from benchmark.execution.loading import InputLoader
from benchmark.identity import fingerprint
from benchmark.identity.import_graph import reachable_hash
from benchmark.protocol.recording import device_name
from benchmark.results.audits import Audit, audit_path, read_audit, write_audit
from benchmark.results.cells import Cell

Begun = Callable[[Cell, str], None]


class Done(NamedTuple):
    """One model's audit and where it was written, or why there is none."""

    cell: Cell
    audit: Audit | None = None
    files: tuple[Path, ...] = ()
    reason: str = ""


class Model:
    """A model under audit: opened, and opened again where a part has spoiled it."""

    def __init__(self, loader: InputLoader, cell: Cell) -> None:
        self.loader, self.cell, self.limit = loader, cell, cell.limit
        self._subject: Subject | None = None

    def __call__(self) -> Subject:
        """What the next part is handed.

        Raises:
            AuditError: it has other weights each time it is opened.
        """
        self.loader.drop_spoiled()
        trained = self.loader.model(self.cell)
        if self._subject is not None and self._subject.trained is trained:
            return self._subject
        if self._subject is not None and self._subject.trained.hash != trained.hash:
            raise AuditError("the model has other weights each time it is opened")
        whole, _ = self.loader.data(self.cell)
        settings = self.loader.settings
        self._subject = Subject(
            self.cell, trained, whole.validation.first(self.limit).batch().to(settings.device),
            whole.classes, strengths_of(whole.name, whole.shape, settings.strengths),
            self.loader.inputs(self.cell).attacker,
        )  # fmt: skip
        return self._subject

    @property
    def defense(self) -> Defense:
        """Of its cell."""
        return self.loader.defenses[self.cell.defense]

    def blank(self) -> Audit:
        """The audit before any part has looked."""
        subject, settings, cell = self(), self.loader.settings, self.cell
        whole, _ = self.loader.data(cell)
        return Audit(
            dataset=cell.dataset, network=cell.network, defense=cell.defense, seed=cell.seed,
            images=len(subject.batch.labels), weights=subject.trained.hash,
            planned=[*known.PARTS], parts={}, versions=fingerprint.versions(),
            fingerprint={
                "weights": subject.trained.hash, "training": subject.trained.training,
                "data": whole.hash, "strengths": short_hash(sorted(subject.strengths.items())),
                "attacks": short_hash([(n, ATTACKS.get(n).version) for n in ATTACKS.names()]),
                "parts": _code(),
                "first look": short_hash(*(flag.code for flag in subject.trained.found)),
            },
            device=device_name(settings.device),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip


def _code() -> str:
    """Of the parts: they are cheap to run again, so any change of them counts."""
    modules = {part.__module__ for part in known.PARTS.values()}
    files = sorted(Path(known.__file__).parent.glob("*.py"))
    return short_hash(reachable_hash(modules), *(file.read_bytes() for file in files))


def audit_one(model: Model, parts: Mapping[str, known.Part], seconds: float, begun: Begun) -> Done:
    """Audit one model, writing after each part what there is; a model that cannot be is said.

    Args:
        model: it.
        parts: what is wanted, by name.
        seconds: that a part may take, and the first look at a model that nobody trains here.
        begun: is told which part of which model begins.
    """
    listener = model.loader.listener
    cell, results = model.cell, model.loader.settings.results
    whole, _ = model.loader.data(cell)
    if not len(whole.validation):
        raise UsageError(f"{cell.dataset} has no validation images, on which models are audited")
    try:  # its training may take hours, but what somebody brought is only asked
        with nullcontext() if model.defense.trains else at_most(seconds):
            blank = model.blank()
    except (Exception, OverLimit) as error:
        listener.note(f"failed: {cell.defense} cannot be audited: {describe(error)}")
        return Done(cell, reason=describe(error))
    path = audit_path(results, cell, blank.images)
    what = f"audit {path.relative_to(results)}"
    with exclusive(results, what, listener.note, what):
        found = _begun(path, blank, listener)
        for further in run_parts(found, parts, model, seconds, partial(begun, cell)):
            found = further
            write_audit(path, found)
        for name, part in found.parts.items():
            if part.failed:
                listener.note(f"{cell.defense}: part {name} failed: {part.skipped}")
    return Done(cell, found, (path,))


def _begun(path: Path, blank: Audit, listener: ProgressListener) -> Audit:
    """The audit that is there already, if it is of this model and these parts; else a new one."""
    if not path.is_file():
        return blank
    try:
        found = read_audit(path)
    except UsageError as error:
        listener.note(f"{error}; made anew")
        return blank
    changed = fingerprint.changed(found.fingerprint, blank.fingerprint)
    if changed:
        listener.note(f"stale, made anew: audit of {blank.defense} ({', '.join(changed)} changed)")
        return blank
    return found
