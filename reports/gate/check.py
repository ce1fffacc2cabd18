"""The gate from files to files: a baseline and a results folder in, a judgement out."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmark.core.errors import UsageError
from benchmark.results.records import Record
from benchmark.results.store import atomic_path
from reports.gate.baseline import Baseline, Kept, read_baseline, write_baseline
from reports.gate.judge import Judgement, Rules, judge, judge_ratios
from reports.gate.outputs import junit, step_summary
from reports.gate.performance import read_ratios
from reports.tidy.verdicts import CellVerdicts, read_strictly, scored


class GateInput(NamedTuple):
    """What there is now; None where nobody asked for it."""

    cells: dict[str, CellVerdicts] | None
    ratios: dict[str, float] | None
    versions: dict[str, str]


def measured(results: Path | None, benchmarks: Path | None) -> GateInput:
    """Read a results folder, a file of pytest-benchmark, or both.

    Raises:
        UsageError: one of them cannot be trusted, or no cell is done.
    """
    cells, versions = None, {}
    if results is not None:
        records = read_strictly(results)
        cells, versions = scored(records, str(results)), _versions(records)
        if not cells:
            raise UsageError(f"no cell below {results} is done; the reasons are in its records")
    return GateInput(cells, read_ratios(benchmarks) if benchmarks else None, versions)


def check(path: Path, now: GateInput, rules: Rules) -> Judgement:
    """Judge what there is now by the baseline at `path`.

    Raises:
        UsageError: the baseline cannot be trusted, holds nothing of what was measured, or is of
            other images.
    """
    baseline = read_baseline(path)
    judgement = Judgement([], rules)
    if now.cells is not None:
        if not baseline.cells:
            raise UsageError(f"{path} holds no cells; write them: check --update --results DIR")
        names = {name: _today(name, now.cells) for name in baseline.cells}
        before = {new: baseline.cells[name].scored(new) for name, new in names.items()}
        judgement += judge(before, now.cells, rules, baseline.floors)
    if now.ratios is not None:
        if not baseline.ratios:
            raise UsageError(f"{path} holds no ratios; write them: check --update --perf FILE")
        judgement += judge_ratios(baseline.ratios, now.ratios, rules)
    return judgement


def _today(name: str, now: Mapping[str, CellVerdicts]) -> str:
    """What a cell is called now: baselines of before may name files with their folders."""
    bare = re.sub(r"=(?![\d.]+/[\d.]+[,\]])[^,\[\]]*[/\\]", "=", name)
    return bare if name not in now and bare in now else name


class Updated(NamedTuple):
    """The baseline before and after."""

    old: Baseline
    new: Baseline

    @property
    def dropped(self) -> list[str]:
        """What was gated and is no longer, since it was not measured."""
        return [
            name
            for old, new in ((self.old.cells, self.new.cells), (self.old.ratios, self.new.ratios))
            for name in old
            if name not in new
        ]


def update(path: Path, now: GateInput) -> Updated:
    """Write what there is now as the baseline; floors stay, and so does what nobody asked for.

    Raises:
        UsageError: what is there cannot be read, hence not kept; or `path` cannot be written.
    """
    old = read_baseline(path) if path.exists() else Baseline()
    changes: dict[str, object] = {}
    if now.cells is not None:
        cells = {name: Kept.of(one) for name, one in now.cells.items()}
        changes |= {"cells": cells, "versions": now.versions}
    if now.ratios is not None:
        changes["ratios"] = {name: round(ratio, 3) for name, ratio in now.ratios.items()}
    new = old.model_copy(update=changes)
    write_baseline(path, new)
    return Updated(old, new)


def write_pages(
    judgement: Judgement, junit_file: Path | None, environment: Mapping[str, str]
) -> None:
    """Write JUnit XML where asked to, and append to the step summary where GitHub names its file.

    Raises:
        UsageError: one of them cannot be written.
    """
    if junit_file is not None:
        with atomic_path(junit_file) as temporary:
            temporary.write_bytes(junit(judgement))
    summary = environment.get("GITHUB_STEP_SUMMARY")
    if summary:
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(step_summary(judgement))
        except OSError as error:
            raise UsageError(f"cannot write the step summary {summary}: {error}") from error


def _versions(records: list[Record]) -> dict[str, str]:
    """Of all packages that made these records; several where records differ."""
    found: dict[str, set[str]] = {}
    for record in records:
        for package, version in record.provenance.versions.items():
            found.setdefault(package, set()).add(version)
    return {package: os.pathsep.join(sorted(versions)) for package, versions in found.items()}
