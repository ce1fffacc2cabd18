"""`audit`: looks at trained models from all sides, keeps what each part finds, and says it."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.markup import escape

from attacks import ATTACKS
from attacks.build import strengths_of
from benchmark.artifacts.locks import exclusive
from benchmark.artifacts.settings import RunSettings
from benchmark.audit import parts as known
from benchmark.audit.running import at_most, run_parts
from benchmark.audit.subject import Subject
from benchmark.cli import launch
from benchmark.core.errors import AuditError, OverLimit, UsageError, describe, unknown
from benchmark.core.schema import short_hash
from benchmark.core.types import Defense
from benchmark.execution.loading import InputLoader
from benchmark.execution.progress import ProgressBars, QuietProgress
from benchmark.identity import fingerprint
from benchmark.identity.import_graph import reachable_hash
from benchmark.plan.matrix import Plan, defense_texts, make_plan
from benchmark.plan.request import Suite, make_request
from benchmark.protocol.recording import device_name
from benchmark.results.audits import (
    FOLDER,
    Advised,
    Audit,
    audit_path,
    read_audit,
    write_audit,
)
from benchmark.results.cells import Cell
from benchmark.results.flags import STRONG
from benchmark.results.store import sweep

WHOLE = Suite(description="audit", attacks=",".join(STRONG), shots=[0])
"""The strongest attack stands in for those that the parts choose by themselves."""


class Asked(NamedTuple):
    """What the command was told beside the models."""

    parts: Sequence[str] | None
    """Names; None is all."""
    seconds: float
    """That a part may take."""
    follow: bool
    """Whether the attacks that flags advise run at once."""
    out: Path | None
    """Folder of the pages; None is beside the records."""

    def chosen(self) -> dict[str, known.Part]:
        """The parts by name, in their order; UsageError for a name or a time that is none."""
        if not 0 < self.seconds < float("inf"):
            raise UsageError(f"--part-time: expected seconds above 0, got {self.seconds:g}")
        for name in self.parts or ():
            if name not in known.PARTS:
                raise unknown("part of an audit", name, known.PARTS)
        wanted = self.parts or [*known.PARTS]
        return {name: part for name, part in known.PARTS.items() if name in wanted}


class Done(NamedTuple):
    """One model's audit and where it was written, or why there is none."""

    cell: Cell
    audit: Audit | None = None
    files: tuple[Path, ...] = ()
    reason: str = ""


def audit(
    values: Mapping[str, Any], asked: Asked, settings: RunSettings, *,
    quiet: bool, json: bool, dry_run: bool,
) -> int:  # fmt: skip
    """Audit every model; the exit code: 1 where one could not be, or somebody interrupted.

    Args:
        values: what is asked for, by field of a `Request`.
        asked: the rest of it.
        settings: as flags say.
        quiet: no progress and no lines.
        json: audits as one document.
        dry_run: say what would be done only.
    """
    chosen, request = asked.chosen(), make_request(values)
    settings = launch.check(settings)
    with redirect_stdout(sys.stderr):  # a user's file may print
        plan = make_plan(request, WHOLE, settings.strengths)
    settings = launch.prepare(plan, settings)
    if dry_run:
        _show_plan(plan, settings, [*chosen], json)
        return 0
    sweep(settings.results / FOLDER)
    progress = QuietProgress() if quiet else AuditBars(plan, len(chosen))
    done: list[Done] = []
    try:
        with progress as listener, redirect_stdout(sys.stderr):
            loader = InputLoader(plan.attacks, plan.defenses, settings, listener)
            for cell in plan.cells:
                done.append(audit_one(Model(loader, cell), chosen, asked, listener))
        if asked.follow:
            texts = defense_texts(request, WHOLE)
            done = [follow(one, values, texts, settings, quiet) for one in done]
    except KeyboardInterrupt:
        print("interrupted: every finished part is kept; the same command goes on", file=sys.stderr)
        return 1
    done = [_with_page(one, asked.out) for one in done]
    _show(done, json=json, quiet=quiet)
    return 1 if any(one.audit is None for one in done) else 0


class AuditBars(ProgressBars):
    """Bars: which part of which model."""

    def __init__(self, plan: Plan, parts: int) -> None:
        super().__init__(plan, launch.console())
        self.bars.update(self.cells, total=max(1, len(plan.cells) * parts), description="audit")

    def part(self, cell: Cell, name: str) -> None:
        """Name the part in flight."""
        self.bars.update(self.cells, advance=1, description=escape(f"{cell.defense}: {name}"))


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
            },
            device=device_name(settings.device),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip


def _code() -> str:
    """Of the parts: they are cheap to run again, so any change of them counts."""
    modules = {part.__module__ for part in known.PARTS.values()}
    files = sorted(Path(known.__file__).parent.glob("*.py"))
    return short_hash(reachable_hash(modules), *(file.read_bytes() for file in files))


def audit_one(
    model: Model, parts: Mapping[str, known.Part], asked: Asked, listener: QuietProgress
) -> Done:
    """Audit one model, writing after each part what there is; a model that cannot be is said."""
    cell, results = model.cell, model.loader.settings.results
    whole, _ = model.loader.data(cell)
    if not len(whole.validation):
        raise UsageError(f"{cell.dataset} has no validation images, on which models are audited")
    try:  # its training may take hours, but what somebody brought is only asked
        with nullcontext() if model.defense.trains else at_most(asked.seconds):
            blank = model.blank()
    except (Exception, OverLimit) as error:
        listener.note(f"failed: {cell.defense} cannot be audited: {describe(error)}")
        return Done(cell, reason=describe(error))
    path = audit_path(results, cell, blank.images)
    what = f"audit {path.relative_to(results)}"
    with exclusive(results, what, listener.note, what):
        found = _begun(path, blank, listener)
        begun = getattr(listener, "part", lambda *_: None)
        for found in run_parts(
            found, parts, model, asked.seconds, lambda name: begun(cell, name)
        ):
            write_audit(path, found)
            _tell(found, listener)
    return Done(cell, found, (path,))


def _begun(path: Path, blank: Audit, listener: QuietProgress) -> Audit:
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


def _tell(audit: Audit, listener: QuietProgress) -> None:
    failed = {name: part for name, part in audit.parts.items() if part.failed}
    for name, part in failed.items():
        listener.note(f"{audit.defense}: part {name} failed: {part.skipped}")


def follow(
    done: Done, values: Mapping[str, Any], texts: Sequence[str], settings: RunSettings, quiet: bool
) -> Done:
    """Run what the flags advise, beside the strongest attack, on test images of the same model."""
    if done.audit is None:
        return done
    names = [name for flag in done.audit.flags for name in flag.kind.attacks]
    attacks = ",".join(dict.fromkeys([*STRONG, *names]))
    request = make_request({**values, "attacks": attacks})
    plan = make_plan(request, WHOLE, settings.strengths)
    plan = plan.model_copy(
        update={
            "cells": [cell for cell in plan.cells if cell.defense == done.cell.defense],
            "defenses": {done.cell.defense: plan.defenses[done.cell.defense]},
        }
    )
    if launch.fill(plan, settings, texts, quiet) is None:
        raise KeyboardInterrupt
    found = done.audit.model_copy(update={"advised": _advised(plan, settings, done.audit)})
    write_audit(done.files[0], found)
    return done._replace(audit=found)


def _advised(plan: Plan, settings: RunSettings, audit: Audit) -> Advised:
    from reports.statistics.intervals import wilson

    stood = {
        record.cell.attack: record.outcome.before.unpack()[0]
        for record in launch.records_of(plan, settings.results)
        if record.outcome and record.fingerprint.get("weights") == audit.weights
    }
    attacks = {
        cell.attack: float(stood[cell.attack].mean()) if cell.attack in stood else None
        for cell in plan.cells
    }
    if not stood:
        return Advised(attacks=attacks, n=0, robust=None, interval=None)
    worst = np.logical_and.reduce([*stood.values()])
    ends = wilson(int(worst.sum()), len(worst))
    return Advised(attacks=attacks, n=len(worst), robust=float(worst.mean()), interval=ends)


def _with_page(done: Done, out: Path | None) -> Done:
    """With its page, beside its record or in a folder of the user's."""
    if done.audit is None:
        return done
    from reports.audit.page import write_page

    (path,) = done.files
    name = "-".join((*path.parts[-5:-1], path.stem))
    page = path.with_suffix(".html") if out is None else out / f"{name}.html"
    return done._replace(files=(path, write_page(done.audit, page)))


def _show(done: Sequence[Done], *, json: bool, quiet: bool) -> None:
    """The findings on standard output, names of files beside it."""
    from reports.audit.console import as_json, lines

    audits = [one.audit for one in done if one.audit is not None]
    if json:
        failed = [{"defense": one.cell.defense, "reason": one.reason} for one in done if one.reason]
        content = {"audits": [as_json(one) for one in audits], "failed": failed}
        print(json_module.dumps(content, allow_nan=False))
        return
    if not quiet:
        for one in audits:
            print(*lines(one), sep="\n")
    for file in (file for one in done for file in one.files):
        print(file, file=sys.stderr)


def _show_plan(plan: Plan, settings: RunSettings, parts: Sequence[str], json: bool) -> None:
    """What would be done, and what is there, as far as that is known without the models."""
    found = [*_planned(plan, settings, parts)]
    if json:
        print(json_module.dumps({"audits": found}))
        return
    for one in found:
        there = ", ".join(one["there"]) or "none"
        print(
            f"{one['model']}: {', '.join(one['parts']) or 'no parts'} on {one['images']} "
            f"validation images; there: {there}"
        )


def _planned(plan: Plan, settings: RunSettings, parts: Sequence[str]) -> Iterator[dict[str, Any]]:
    for cell in plan.cells:
        size = plan.facts[cell.dataset].sizes[1]
        images = min(cell.limit or size, size)
        path = audit_path(settings.results, cell, images)
        there: list[str] = []
        with suppress(UsageError):  # one that cannot be trusted is made anew
            there = [*read_audit(path).parts] if path.is_file() else []
        model = f"{cell.dataset}/{cell.network}/{cell.defense}/s{cell.seed}"
        yield {"model": model, "parts": [*parts], "images": images, "there": there}
