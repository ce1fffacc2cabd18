"""The plots, as PNG and SVG: one file per data set and network each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmark.results.store import atomic_path, slug
from reports.plots.collateral import collateral_figure
from reports.plots.column import column_figure
from reports.plots.dots import adaptation_figure
from reports.plots.matrix import matrix_figure
from reports.plots.palette import marks
from reports.plots.sequence import sequence_figure
from reports.plots.sheet import sheets
from reports.plots.shots import shots_figure
from reports.plots.strength import strength_figure
from reports.plots.tradeoff import cost_figure, plane_figure
from reports.tidy.aggregate import Views
from reports.tidy.sources import Sourced


def write_plots(
    shown: Views, out: Path, table: pd.DataFrame | None = None,
    families: pd.DataFrame | None = None, names: Mapping[str, str] | None = None,
) -> list[Path]:  # fmt: skip
    """Write `shots-...` and `matrix-...` for every data set and network, from `headline.views`.

    With `board.costed` also `plane-...` and `cost-...`; `strength-...` where an attack has several,
    `adaptation-...` where there are several ways of adapting.

    With `per_family` also `column-...`, for a column of a paper. `names` are what defenses are
    called; each has one colour and shape in all figures.

    There is no `shots-...` where only one K was run. Where other attacks were shown than scored,
    there is `collateral-...` for each K and `sequence-...`.

    Raises:
        UsageError: `out` cannot be written.
    """
    found = marks(shown.head["defense"])
    known = {(names or {}).get(name, name): mark for name, mark in found.items()}
    shown = Views(*(_named(part, names) for part in shown))
    head, attacks = shown.head, shown.attacks
    table, families = (part if part is None else _named(part, names) for part in (table, families))
    places = dict.fromkeys(zip(head["dataset"], head["network"], strict=True))
    written: list[Path] = []
    with styled():
        for dataset, network in places:
            name = f"{slug(dataset)}-{slug(network)}"
            of_head, of_attacks = (
                table[(table["dataset"] == dataset) & (table["network"] == network)]
                for table in (head, attacks)
            )
            if of_head["shots"].nunique() > 1:
                written += save(shots_figure(of_head), out / f"shots-{name}")
            if len(of_attacks):
                written += save(matrix_figure(of_attacks), out / f"matrix-{name}")
                figures = {
                    "strength": strength_figure(of_attacks, known),
                    "adaptation": adaptation_figure(of_attacks, known),
                }
                written += _save_some(figures, out, name)
            if table is not None:
                mine = table[(table["dataset"] == dataset) & (table["network"] == network)]
                figures = {"plane": plane_figure(mine, known), "cost": cost_figure(mine, known)}
                written += _save_some(figures, out, name)
            if families is not None:
                here = (families["dataset"] == dataset) & (families["network"] == network)
                figure = column_figure(of_head, families[here], known)
                written += _save_some({"column": figure}, out, name)
        for (dataset, network, shots), part in shown.changed.groupby(
            ["dataset", "network", "shots"]
        ):
            name = f"collateral-{slug(str(dataset))}-{slug(str(network))}-k{shots}"
            written += save(collateral_figure(part), out / name)
        for (dataset, network), part in shown.staged.groupby(["dataset", "network"]):
            name = f"sequence-{slug(str(dataset))}-{slug(str(network))}"
            written += save(sequence_figure(part), out / name)
    return written


def _named(table: pd.DataFrame, names: Mapping[str, str] | None) -> pd.DataFrame:
    """The table with what people call its defenses."""
    if not names or "defense" not in table:
        return table
    return table.assign(defense=[names.get(name, name) for name in table["defense"]])


def write_sheets(sources: Sequence[Sourced], out: Path) -> list[Path]:
    """Write `sheet-...` for every defense whose records have pictures: see `sheets`.

    Raises:
        UsageError: `out` cannot be written, or a file is not the picture of its record.
    """
    with styled():
        return [
            path
            for name, figure in sheets(sources)
            for path in save(figure, out / f"sheet-{slug(name)}")
        ]


@contextmanager
def styled() -> Iterator[None]:
    """The look of all figures."""
    with as_file(files("reports") / "reattack.mplstyle") as style, rc_context(fname=style):
        yield


def _save_some(figures: Mapping[str, Figure | None], out: Path, name: str) -> list[Path]:
    """Save the figures there are."""
    return [
        path
        for stem, figure in figures.items()
        if figure is not None
        for path in save(figure, out / f"{stem}-{name}")
    ]


def save(figure: Figure, stem: Path) -> list[Path]:
    """Save as PNG and SVG; the SVG holds no date, so that equal results give equal files."""
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for path in paths:
        with atomic_path(path) as temporary:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(temporary, format=path.suffix[1:], metadata=metadata)
        figure.set_layout_engine("none")  # laid out once is enough, and equal in both files
    return paths
