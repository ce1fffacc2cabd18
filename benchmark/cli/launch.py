"""One `run` from flags to exit code: plan, device, progress, matrix, table, report."""

from __future__ import annotations

import json as json_module
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args

import torch
from rich.console import Console

from benchmark.artifacts.settings import Limits, Place, Reattack
from benchmark.cli.cache import LIMIT
from benchmark.cli.dry_run import show as show_plan
from benchmark.cli.options import DEBUG
from benchmark.cli.units import size_in_bytes
from benchmark.core.errors import UsageError, unknown
from benchmark.data.catalog import DATASETS
from benchmark.evaluation.precision import check_precision
from benchmark.execution.allocator import keep_memory
from benchmark.execution.execute import Team, check_team, cores, fill, needs_processes, units
from benchmark.execution.limits import check_limits
from benchmark.execution.processes import warm_up
from benchmark.execution.progress import Progress, Silent
from benchmark.execution.worker import Job
from benchmark.plan.matrix import Plan, defense_texts, make_plan
from benchmark.plan.request import make_request, read_suite
from benchmark.protocol.workspace import Lab
from benchmark.results.records import Record
from benchmark.results.store import is_kept, read_record, record_path, sweep

TINY = 16 * 16
SHARES = {1: 0.25, 3: 0.5}
"""By channels, what one task of Ray takes of a GPU if nobody says: small networks leave it idle."""


class Wish(NamedTuple):
    """Everything about a run that is not part of a cell."""

    suite: str
    results: Path
    data_dir: Path | None
    download: bool
    device: str
    precision: str
    team: Team
    threads: int | None
    limits: Limits
    words: list[str]
    cache: Path | None = None
    """Folder of crafted examples; None is `cache` in the results folder."""
    no_cache: bool = False
    cache_limit: str = LIMIT
    reattack: str = "all"


def run(values: Mapping[str, Any], wish: Wish, *, quiet: bool, json: bool, dry_run: bool) -> int:
    """Run the matrix; the exit code: 0 done, 1 some cells failed or were interrupted."""
    request, suite = make_request(values), read_suite(wish.suite)
    check(wish)
    if needs_processes(wish.team) and not dry_run:
        warm_up()  # on another core, while this one plans
    with redirect_stdout(sys.stderr):  # a user's file may print; standard output is ours
        plan = make_plan(request, suite)
    place = place_of(wish, plan)
    team, job = prepare(plan, place, defense_texts(request, suite), wish)
    if dry_run:
        show_plan(plan, place, json)
        return 0
    ended = execute(plan, place, team, job, quiet)
    if ended is None:
        return 1
    _show_results(plan, place, json=json, quiet=quiet)
    return told_failures(ended)


def check(wish: Wish) -> None:
    """Raise UsageError for flags that make no sense, before anything is planned."""
    check_team(wish.team)
    check_limits(wish.limits)
    check_precision(wish.precision, choose_device(wish.device))
    if wish.reattack not in get_args(Reattack):
        raise unknown("--reattack", wish.reattack, get_args(Reattack))


def place_of(wish: Wish, plan: Plan) -> Place:
    """Where the run happens."""
    return Place(
        wish.results, wish.data_dir, wish.download, choose_device(wish.device),
        shlex.join(["python", "-m", "benchmark", *wish.words]), *choose_cache(wish),
        precision=wish.precision, reattack=cast(Reattack, wish.reattack), limits=wish.limits,
        choices=tuple(plan.choices.values()), debug=DEBUG in wish.words,
    )  # fmt: skip


def prepare(plan: Plan, place: Place, texts: Sequence[str], wish: Wish) -> tuple[Team, Job]:
    """Who computes, and what each of them is told."""
    keep_memory()
    team, threads = share_cores(plan, place.device, wish.team, wish.threads)
    return team, Job(place, tuple(texts), threads)


def execute(plan: Plan, place: Place, team: Team, job: Job, quiet: bool) -> Counter[str] | None:
    """Fill the matrix; how cells ended, or None if somebody interrupted it."""
    for part in ("records", "models", "cache", "report", "tuned"):
        sweep(place.results / part)
    try:
        watcher = Silent() if quiet else Progress(plan, Console(stderr=True, quiet=quiet))
        with watcher as watch, redirect_stdout(sys.stderr):
            return fill(Lab(plan, place, watch), job, team)
    except KeyboardInterrupt:
        print(
            "interrupted: every finished cell is kept; run the same command again to go on",
            file=sys.stderr,
        )
        return None


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


def choose_cache(wish: Wish) -> tuple[Path | None, int]:
    """The folder for crafted examples and its limit in bytes; None where none are kept."""
    if wish.no_cache and wish.cache:
        raise UsageError("expected --cache DIR or --no-cache, got both; drop one")
    limit = size_in_bytes("--cache-limit", wish.cache_limit)
    folder = (wish.cache or wish.results / "cache").absolute()  # workers may stand elsewhere
    return None if wish.no_cache else folder, limit


def share_cores(plan: Plan, device: str, team: Team, threads: int | None) -> tuple[Team, int]:
    """Set torch's threads here; the team with its number of processes, and threads for each worker.

    A second process brings more than a second thread, which on images as small as the digits
    brings nothing: as many processes as there are cores, or as there is work for, and the cores in
    equal shares. The driver, which trains while no worker runs, keeps all of them.
    """
    for flag, value in (("--jobs", team.jobs), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{flag}: expected at least 1, got {value}")
    shape = DATASETS[plan.cells[0].dataset].shape
    on_cpu = torch.device(device).type == "cpu"
    tiny = shape[1] * shape[2] < TINY and on_cpu
    if team.executor == "auto" and team.jobs is None:
        team = team._replace(jobs=min(cores(), units(plan)) if on_cpu else 1)
    if team.executor == "ray" and team.gpus is None and not on_cpu:
        team = team._replace(gpus=SHARES[shape[0]])
    if threads is not None or tiny:
        torch.set_num_threads(threads or 1)
    several = 1 if team.executor == "ray" else max(1, cores() // (team.jobs or cores()))
    return team, threads or (1 if tiny else several)


def records_of(plan: Plan, place: Place) -> list[Record]:
    """Those of the plan that are there."""
    root, kept = place.results, (cell for cell in plan.cells if is_kept(place.results, cell))
    return [read_record(record_path(root, cell)) for cell in kept]


def _show_results(plan: Plan, place: Place, *, json: bool, quiet: bool) -> None:
    """Of the cells of the plan: a folder may hold very many others."""
    from reports.summary.console import print_summary
    from reports.summary.write import write_if_other
    from reports.tidy.frame import from_records, to_json_cells

    frame = from_records(records_of(plan, place), here=True)
    if json:
        print(json_module.dumps({"cells": to_json_cells(frame)}, allow_nan=False))
    elif not quiet:
        print_summary(frame, Console())
    out = place.results / "report"
    write_if_other(frame, out)
    talk = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    talk.print(
        f"records: {place.results / 'records'}\ntables and plots: {out}\n"
        f"of this run; of all records there: python -m benchmark report --results {place.results}",
        markup=False,
    )
