"""One `run` from flags to exit code: plan, device, progress, matrix, table, report."""

from __future__ import annotations

import json as json_module
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, get_args

import torch
from rich.console import Console

from baselines.build import about_of
from benchmark.artifacts.settings import Reattack, RunSettings, Scope
from benchmark.cli.dry_run import show as show_plan
from benchmark.cli.options import DEBUG
from benchmark.core.errors import UsageError, unknown
from benchmark.evaluation.precision import check_precision
from benchmark.execution.allocator import keep_memory
from benchmark.execution.execute import (
    check_executor,
    cores,
    execute,
    needs_processes,
    useful_jobs,
)
from benchmark.execution.processes import warm_up
from benchmark.execution.progress import ProgressBars, QuietProgress
from benchmark.plan.cost import warning
from benchmark.plan.matrix import Plan, defense_texts, make_plan
from benchmark.plan.request import make_request, read_suite
from benchmark.results.audits import readable_audits
from benchmark.results.records import BY_RULE, Record
from benchmark.results.store import is_kept, read_record, record_path, sweep

TINY = 16 * 16
"""Pixels, from which on more threads or a GPU are worth something."""
SHARES = {1: 0.25, 3: 0.5}
"""By channels, what one task of Ray takes of a GPU if nobody says: small networks leave it idle."""


def run(
    values: Mapping[str, Any], suite: str, settings: RunSettings, *,
    quiet: bool, json: bool, dry_run: bool,
) -> int:  # fmt: skip
    """Run the matrix; the exit code: 0 done, 1 some cells failed or were interrupted.

    Args:
        values: what is asked for, by field of a `Request`.
        suite: says what is not asked for.
        settings: as the flags say; what they leave open is chosen here.
        quiet: no progress and no table.
        json: the table as JSON.
        dry_run: show the plan only.
    """
    request, known = make_request(values), read_suite(suite)
    settings = check(settings)
    if needs_processes(settings) and not dry_run:
        warm_up()  # on another core, while this one plans
    with redirect_stdout(sys.stderr):  # a user's file may print; standard output is ours
        plan = make_plan(request, known, settings.strengths)
    settings = prepare(plan, settings)
    if dry_run:
        show_plan(plan, settings, json)
        return 0
    if not quiet:
        tell_before(plan, settings)
    ended = fill(plan, settings, defense_texts(request, known), quiet)
    if ended is None:
        return 1
    _show_results(plan, settings.results, json=json, quiet=quiet)
    return told_failures(ended)


def tell_before(plan: Plan, settings: RunSettings) -> None:
    """What is to be known before a run begins: what nobody chose, and that it takes hours."""
    drawn = (f"{name}: {facts.drawn}" for name, facts in plan.facts.items() if facts.drawn)
    slow = warning(plan, settings.device)
    for line in filter(None, (*drawn, by_rule(plan), idle_gpu(plan, settings.device), slow)):
        print(line, file=sys.stderr)


def idle_gpu(plan: Plan, device: str) -> str:
    """One line where a GPU waits for its driver all the time; see tests/perf/README.md."""
    if torch.device(device).type == "cpu" or not _tiny(plan):
        return ""
    return "images as small as these keep no GPU busy: --device cpu, on all cores, is sooner done"


def _tiny(plan: Plan) -> bool:
    """Whether images are about as small as the digits."""
    _, height, width = plan.facts[plan.cells[0].dataset].shape
    return height * width < TINY


def by_rule(plan: Plan) -> str:
    """One line with the strengths that nobody chose for this data; empty where there are none."""
    threats = dict.fromkeys(str(one.threat) for one in plan.attacks.values() if one.by_rule)
    if not threats:
        return ""
    return f"strengths{BY_RULE}: {', '.join(threats)}; --strengths FILE.toml sets others"


def check(settings: RunSettings, command: str = "") -> RunSettings:
    """The settings with their device and the command they came from, before anything is planned.

    `command` is in place of the words of the command line.

    Raises:
        UsageError: flags make no sense.
    """
    check_executor(settings)
    if settings.no_cache and settings.cache:
        raise UsageError("expected --cache DIR or --no-cache, got both; drop one")
    words = sys.argv[1:]
    found = {
        "device": choose_device(settings.device), "debug": DEBUG in words,
        "command": command or shlex.join(["python", "-m", "benchmark", *words]),
    }  # fmt: skip
    settings = settings.model_copy(update=found)
    check_precision(settings.precision, settings.device)
    if settings.reattack not in get_args(Reattack):
        raise unknown("--reattack", settings.reattack, get_args(Reattack))
    if settings.verdicts not in get_args(Scope):
        raise unknown("--verdicts", settings.verdicts, get_args(Scope))
    return settings


def prepare(plan: Plan, settings: RunSettings) -> RunSettings:
    """The settings with all that depends on the plan: choices of `tune`, workers and threads.

    A second process brings more than a second thread, which on images as small as the digits
    brings nothing: as many processes as there are cores, or as there is work for, and the cores in
    equal shares. The driver, which trains, keeps all of them.
    """
    if settings.verdicts == "union" and any(cell.budget.adapts for cell in plan.cells):
        raise UsageError("--verdicts union scores the model as it was trained: give --shots 0")
    keep_memory()
    on_cpu = torch.device(settings.device).type == "cpu"
    tiny = _tiny(plan) and on_cpu
    jobs, gpus, threads = settings.jobs, settings.gpus_per_task, settings.threads
    if settings.executor == "auto" and jobs is None:
        jobs = min(cores(), useful_jobs(plan)) if on_cpu else 1
    if settings.executor == "ray" and gpus is None and not on_cpu:
        gpus = SHARES[plan.facts[plan.cells[0].dataset].shape[0]]
    if threads is not None or tiny:
        torch.set_num_threads(threads or 1)
    several = 1 if settings.executor == "ray" else max(1, cores() // (jobs or cores()))
    found = {
        "choices": tuple(plan.choices.values()), "own": plan.own,
        "jobs": jobs, "gpus_per_task": gpus, "threads": threads or (1 if tiny else several),
    }  # fmt: skip
    return settings.model_copy(update=found)


def fill(
    plan: Plan, settings: RunSettings, defenses: Sequence[str], quiet: bool
) -> Counter[str] | None:
    """Run the matrix; how cells ended, or None if somebody interrupted it."""
    for part in ("records", "models", "cache", "report", "tuned", "running", "audits"):
        sweep(settings.results / part)
    try:
        progress = QuietProgress() if quiet else ProgressBars(plan, console())
        with progress as listener, redirect_stdout(sys.stderr):
            return execute(plan, settings, defenses, listener)
    except KeyboardInterrupt:
        print(
            "interrupted: every finished cell is kept; run the same command again to go on",
            file=sys.stderr,
        )
        return None


def console() -> Console:
    """Where progress is shown: standard output is for results."""
    return Console(emoji=False, stderr=True)


def told_failures(ended: Counter[str]) -> int:
    """The exit code, having said how many cells failed."""
    if ended["failed"]:
        print(f"{ended['failed']} cells failed; the reasons are in the records", file=sys.stderr)
    return 1 if ended["failed"] else 0


def choose_device(name: str) -> str:
    """`auto` is a GPU if there is one; UsageError for one that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(name).type not in ("cpu", "cuda"):
            raise RuntimeError("not a device this runs on")
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UsageError(f"--device {name}: {first}; expected auto, cpu or cuda") from None
    return name


def records_of(plan: Plan, root: Path) -> list[Record]:
    """Those of the plan that are there."""
    return [read_record(record_path(root, cell)) for cell in plan.cells if is_kept(root, cell)]


def _show_results(plan: Plan, results: Path, *, json: bool, quiet: bool) -> None:
    """Of the cells of the plan: a folder may hold very many others."""
    from reports.summary.console import print_summary
    from reports.summary.write import write_if_other
    from reports.tidy.frame import from_records, to_json_cells

    audits, _ = readable_audits(results)
    frame = from_records(records_of(plan, results), here=True, audits=audits)
    if json:
        print(json_module.dumps({"cells": to_json_cells(frame)}, allow_nan=False))
    elif not quiet:
        print_summary(frame, Console(emoji=False))
    out = results / "report"
    write_if_other(frame, out, about_of)
    talk = Console(emoji=False, stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    talk.print(
        f"records: {results / 'records'}\ntables and plots: {out}\n"
        f"of this run; of all records there: python -m benchmark report --results {results}",
        markup=False,
    )
