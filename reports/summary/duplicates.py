"""Near-duplicates among attacks: pairs, clusters and how examples transfer, shown and written."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from benchmark.core.errors import UsageError
from benchmark.results.store import atomic_path
from reports.plots.dendrogram import dendrogram_figure
from reports.plots.write import save, styled
from reports.statistics import similarity
from reports.statistics.intervals import Table
from reports.tidy.escape import spreadsheet, visible
from reports.tidy.frame import rows

MEASURES = ("cosine", "signs", "agreement", "transfer")
DECISIVE = ("cosine", "agreement", "transfer")
"""Signs are beside them for attacks in linf; those of the many small numbers of a perturbation in
l2 or l1 are chance."""
SHOWN = 40
"""Pairs on a terminal; the file has all."""


class Crafted(NamedTuple):
    """What every attack made of the same images of one model (the source), attacks in order."""

    source: str
    moved: Table
    """Perturbations, float32 (attacks, images, numbers)."""
    clean: Mapping[str, Table]
    """By model, which images are right without an attack: bool (images,)."""
    stood: Mapping[str, Table]
    """By model, which of the crafted images are right there: bool (attacks, images)."""


class Similar(NamedTuple):
    """How alike attacks are, and which are counted as one."""

    threshold: float
    pairs: pd.DataFrame
    """a, b, family_a, family_b, MEASURES, similarity; the most alike first."""
    clusters: pd.DataFrame
    """cluster, attack, family, representative, broken; clusters together, representatives first."""
    transfer: pd.DataFrame
    """attack, source, target, n, broken: examples for one model on another."""
    joined: Table
    """The tree, as `scipy.cluster.hierarchy.linkage` has it; its leaves are `names`."""
    names: list[str]
    labels: list[str]
    """The cluster of each of `names`."""
    left_out: dict[str, str]
    """Attacks that are not compared, and why."""
    about: str
    """Of which data, models and how many images this is."""


def similar(
    names: Sequence[str], families: Sequence[str], passes: Sequence[int],
    crafted: Sequence[Crafted], threshold: float, left_out: Mapping[str, str], data: str,
) -> Similar:  # fmt: skip
    """Compare attacks on the images that are right without one; duplicates from `threshold` on.

    The similarity of two is the least of the mean cosine of their perturbations, the share of
    verdicts in which they agree and, where there are several models, that of the verdicts of the
    other models about the same examples.

    Raises:
        UsageError: fewer than two attacks, or no image that is right.
    """
    if len(names) < 2:
        raise UsageError(f"expected at least two attacks that run on every model, got {len(names)}")
    n = sum(int(one.clean[one.source].sum()) for one in crafted)
    if not n:
        raise UsageError("no image is right without an attack: there is nothing to compare")
    models = ", ".join(one.source for one in crafted)
    about = f"{data}: {models}; {n} images that are right without an attack"
    measured = _measured(crafted)
    alike = similarity.least([measured[name] for name in DECISIVE])
    joined = similarity.tree(alike)
    broken = np.mean([_broken(one, one.source) for one in crafted], axis=0)
    groups = similarity.clusters(joined, threshold)
    order = sorted(range(len(names)), key=lambda i: (-broken[i], passes[i], names[i]))
    heads: dict[int, str] = {}
    for i in order:
        heads.setdefault(groups[i], names[i])
    labels = [heads[group] for group in groups]
    table = pd.DataFrame({
        "cluster": [labels[i] for i in order], "attack": [names[i] for i in order],
        "family": [families[i] for i in order],
        "representative": [labels[i] == names[i] for i in order],
        "broken": [float(broken[i]) for i in order],
    }).sort_values("cluster", kind="stable", ignore_index=True)  # fmt: skip
    return Similar(
        threshold, _pairs(names, families, measured | {"similarity": alike}), table,
        _transfer(names, crafted), joined, list(names), labels, dict(left_out), about,
    )  # fmt: skip


def _measured(crafted: Sequence[Crafted]) -> dict[str, Table]:
    """By measure, (attacks, attacks), the mean over models."""
    found: dict[str, list[Table]] = {name: [] for name in MEASURES}
    for one in crafted:
        right = one.clean[one.source]
        moved = np.where(np.abs(one.moved[:, right]) > similarity.STILL, one.moved[:, right], 0)
        found["cosine"].append(similarity.cosines(moved))
        found["signs"].append(similarity.cosines(similarity.signs(moved)))
        for target, stood in one.stood.items():
            both = right & one.clean[target]
            kind = "agreement" if target == one.source else "transfer"
            found[kind].append(similarity.agreement(stood[:, both]))
    blank = np.full_like(found["cosine"][0], np.nan)
    return {name: similarity.mean_known(parts or [blank]) for name, parts in found.items()}


def _broken(one: Crafted, target: str) -> Table:
    """Share of the images right on both models that each attack breaks on `target`."""
    both = one.clean[one.source] & one.clean[target]
    found: Table = 1 - one.stood[target][:, both].sum(axis=1) / max(1, int(both.sum()))
    return found


def _pairs(
    names: Sequence[str], families: Sequence[str], measured: Mapping[str, Table]
) -> pd.DataFrame:
    first, second = (places.tolist() for places in np.triu_indices(len(names), 1))
    columns: dict[str, Any] = {
        "a": [names[i] for i in first], "b": [names[i] for i in second],
        "family_a": [families[i] for i in first], "family_b": [families[i] for i in second],
    } | {name: table[first, second] for name, table in measured.items()}  # fmt: skip
    table = pd.DataFrame(columns)
    return table.sort_values("similarity", ascending=False, kind="stable", ignore_index=True)


def _transfer(names: Sequence[str], crafted: Sequence[Crafted]) -> pd.DataFrame:
    lines = [
        (name, one.source, target, int((one.clean[one.source] & one.clean[target]).sum()), share)
        for one in crafted
        for target in one.stood
        for name, share in zip(names, _broken(one, target).tolist(), strict=True)
    ]
    return pd.DataFrame(lines, columns=["attack", "source", "target", "n", "broken"])


def print_similar(found: Similar) -> None:
    """The duplicates, pair by pair and as clusters, on standard output."""
    console = Console(emoji=False, highlight=False, width=None if sys.stdout.isatty() else 200)
    alike = found.pairs[found.pairs["similarity"] >= found.threshold]
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, name in enumerate(("attack", "attack", *MEASURES, "similarity")):
        grid.add_column(name, justify="left" if place < 2 else "right")
    for row in rows(alike.head(SHOWN)):
        numbers = [getattr(row, name) for name in (*MEASURES, "similarity")]
        texts = ["" if np.isnan(value) else f"{value:.3f}" for value in numbers]
        grid.add_row(*(Text(text) for text in (visible(row.a, 40), visible(row.b, 40), *texts)))
    if len(alike):
        console.print(grid)
    for line in lines(found):
        console.print(Text(line), soft_wrap=True)


def lines(found: Similar) -> list[str]:
    """What the comparison says, a line each."""
    count = int((found.pairs["similarity"] >= found.threshold).sum())
    said = [
        visible(found.about, 200),
        f"{count} of {len(found.pairs)} pairs are at least {found.threshold:g} alike: the least of "
        "the cosine of perturbations and the shares of equal verdicts, here and after transfer",
    ]
    for name, part in found.clusters.groupby("cluster", sort=False):
        others = [visible(str(one)) for one in part["attack"] if one != name]
        if others:
            said.append(f"cluster {visible(str(name))}: {', '.join(others)}")
    said.append(f"{found.clusters['cluster'].nunique()} of {len(found.names)} attacks are distinct")
    said += [
        f"left out: {visible(name)}: {visible(why, 200)}" for name, why in found.left_out.items()
    ]
    return said


def as_json(found: Similar) -> dict[str, Any]:
    """For `--json`: pairs, clusters and transfer as lists of objects; unknown is null."""

    def plain(table: pd.DataFrame) -> list[dict[str, Any]]:
        whole = table.astype(object)
        known = whole.where(whole.notna(), None).to_dict(orient="records")
        return [{str(name): value for name, value in one.items()} for one in known]

    return {
        "about": found.about, "threshold": found.threshold, "pairs": plain(found.pairs),
        "clusters": plain(found.clusters), "transfer": plain(found.transfer),
        "left_out": found.left_out,
    }  # fmt: skip


def write(found: Similar, out: Path) -> list[Path]:
    """Write pairs.csv, clusters.csv, transfer.csv, and dendrogram.png and .svg.

    Raises:
        UsageError: `out` cannot be written.
    """
    paths = []
    for name in ("pairs", "clusters", "transfer"):
        table = getattr(found, name)
        text = table.map(lambda value: spreadsheet(value) if isinstance(value, str) else value)
        paths.append(out / f"{name}.csv")
        with atomic_path(paths[-1]) as temporary:
            text.to_csv(temporary, index=False, lineterminator="\n", float_format="%.6g")
    with styled():
        figure = dendrogram_figure(
            found.joined, found.names, found.labels, found.threshold, found.about
        )
        return [*paths, *save(figure, out / "dendrogram")]
