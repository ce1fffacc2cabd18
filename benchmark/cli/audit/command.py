"""`audit`: looks at trained models from all sides, keeps what each part finds, and says it."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape

from benchmark.artifacts.settings import RunSettings
from benchmark.audit import parts as known
from benchmark.cli import launch
from benchmark.cli.audit.advice import WHOLE, follow
from benchmark.cli.audit.opening import Done, Model, audit_one
from benchmark.core.errors import UsageError, unknown
from benchmark.execution.loading import InputLoader
from benchmark.execution.progress import ProgressBars, QuietProgress
from benchmark.plan.matrix import Plan, defense_texts, make_plan
from benchmark.plan.request import make_request, read_suite
from benchmark.results.audits import (
    FOLDER,
    audit_path,
    read_audit,
)
from benchmark.results.cells import Cell
from benchmark.results.store import sweep


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


def models_of(defense: str | None, suite: str | None) -> dict[str, Any]:
    """What is audited, by field of a `Request`: defenses by name, or those of a suite.

    Raises:
        UsageError: both or neither are given, or the suite is unknown.
    """
    if (defense is None) == (suite is None):
        raise UsageError("expected --defense NAMES or --suite NAME, got both or neither")
    if suite is None:
        return {"defenses": defense}
    found = read_suite(suite)
    texts = defense_texts(make_request({}), found)
    return {"defenses": ",".join(texts), "dataset": found.dataset, "network": found.network}


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
            begun = listener.part if isinstance(listener, AuditBars) else _silent
            loader = InputLoader(plan.attacks, plan.defenses, settings, listener)
            for cell in plan.cells:
                done.append(audit_one(Model(loader, cell), chosen, asked.seconds, begun))
        if asked.follow:
            texts = defense_texts(request, WHOLE)
            done = [follow(one, values, texts, settings, quiet) for one in done]
    except KeyboardInterrupt:
        print("interrupted: every finished part is kept; the same command goes on", file=sys.stderr)
        return 1
    done = [_with_page(one, asked.out) for one in done]
    _show(done, json=json, quiet=quiet)
    return 1 if any(one.audit is None for one in done) else 0


def _silent(*_: object) -> None:
    """Where nobody is shown which part begins."""


class AuditBars(ProgressBars):
    """Bars: which part of which model."""

    def __init__(self, plan: Plan, parts: int) -> None:
        super().__init__(plan, launch.console())
        self.bars.update(self.cells, total=max(1, len(plan.cells) * parts), description="audit")

    def part(self, cell: Cell, name: str) -> None:
        """Name the part in flight."""
        self.bars.update(self.cells, advance=1, description=escape(f"{cell.defense}: {name}"))


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
