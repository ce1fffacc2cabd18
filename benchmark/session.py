"""One `run` from flags to exit code: plan, device, progress, matrix, table, report."""

from __future__ import annotations

import json as json_module
import shlex
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from benchmark import estimate
from benchmark.core.errors import UsageError
from benchmark.core.records import Record
from benchmark.core.store import read_record, record_path
from benchmark.dataset_facts import DATASETS
from benchmark.executors import Job, cores, fill
from benchmark.lab import Lab
from benchmark.place import Place
from benchmark.plan import Plan, make_plan, make_request, read_suite
from benchmark.progress import Progress, Silent

TINY = 16 * 16


class Wish(NamedTuple):
    """Everything about a run that is not part of a cell."""

    suite: str
    results: Path
    data_dir: Path | None
    download: bool
    device: str
    jobs: int | None
    threads: int | None
    words: list[str]


def run(values: Mapping[str, Any], wish: Wish, *, quiet: bool, json: bool, dry_run: bool) -> int:
    """Run the matrix; the exit code: 0 done, 1 some cells failed or were interrupted."""
    request = make_request(values)
    with redirect_stdout(sys.stderr):  # a user's file may print; standard output is ours
        plan = make_plan(request, read_suite(wish.suite))
    place = Place(
        wish.results, wish.data_dir, wish.download, choose_device(wish.device),
        shlex.join(["python", "-m", "benchmark", *wish.words]),
    )  # fmt: skip
    jobs = share_cores(plan, place.device, wish.jobs, wish.threads)
    talk = Console(stderr=True, quiet=quiet)
    if dry_run:
        return _show_plan(plan, place, json)
    try:
        with Silent() if quiet else Progress(plan, talk) as watch:
            lab, job = Lab(plan, place, watch), Job(request, wish.suite, place)
            with redirect_stdout(sys.stderr):
                ended = fill(lab, job, jobs)
    except KeyboardInterrupt:
        print(
            "interrupted: every finished cell is kept; run the same command again to go on",
            file=sys.stderr,
        )
        return 1
    _show_results(plan, place, json=json, quiet=quiet)
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


def share_cores(plan: Plan, device: str, jobs: int | None, threads: int | None) -> int:
    """Set torch's threads and say how many processes to use.

    On images as small as the digits a second thread costs more than it brings, a second process
    does not: one thread each, and as many processes as there are cores.
    """
    for flag, value in (("--jobs", jobs), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{flag}: expected at least 1, got {value}")
    _, height, width = DATASETS[plan.cells[0].dataset].shape
    tiny = height * width < TINY and torch.device(device).type == "cpu"
    if jobs is None:
        jobs = cores() if tiny else 1
    if threads is None and (tiny or jobs > 1):
        threads = 1 if tiny else max(1, cores() // jobs)
    if threads is not None:
        torch.set_num_threads(threads)
    return jobs


def _records(plan: Plan, place: Place) -> list[Record]:
    paths = [record_path(place.results, cell) for cell in plan.cells]
    return [read_record(path) for path in paths if path.is_file()]


def _show_results(plan: Plan, place: Place, *, json: bool, quiet: bool) -> None:
    from reports.console import print_summary
    from reports.frame import from_records, to_json_cells
    from reports.report import write_if_older

    frame = from_records(_records(plan, place))
    if json:
        print(json_module.dumps({"cells": to_json_cells(frame)}, allow_nan=False))
    elif not quiet:
        print_summary(frame, Console())
    out = place.results / "report"
    problems = write_if_older(place.results, out)
    talk = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
    for problem in problems:
        talk.print(problem, markup=False)
    talk.print(f"records: {place.results / 'records'}\ntables and plots: {out}", markup=False)


def _show_plan(plan: Plan, place: Place, json: bool) -> int:
    costs = estimate.costs(plan)
    seconds = estimate.seconds_per_pass(plan, place.device)
    if json:
        cells = [
            {**cell.model_dump(), "passes": cost, "seconds": round(cost * seconds, 3)}
            for cell, cost in zip(plan.cells, costs, strict=True)
        ]
        print(json_module.dumps({"cells": cells}))
        return 0
    console = Console()
    console.print(estimate.table(plan, costs, seconds, place.results))
    console.print(estimate.total(costs, seconds))
    return 0
