"""What every attack does to the same images: as they are, attacked, and the difference times 5."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.core.errors import UsageError
from benchmark.results.thumbnail import LARGEST, decode
from reports.leaderboard.naming import namings, short_names
from reports.tidy.escape import drawable
from reports.tidy.rows import by_family
from reports.tidy.sources import Sourced

IMAGES, BLOCKS = 4, 3
"""Of each attack, and of attacks side by side."""
WIDTH, ROW = 11.0, 0.46
"""Inches: of the figure, and of a row."""
TIMES = 5
GAP = 0.15
"""Between two groups of images, in widths of one."""


def sheets(sources: Sequence[Sourced]) -> Iterator[tuple[str, Figure]]:
    """A name and a figure for each trained defense that has pictures: of its first training seed.

    The attacks of the model as it was trained, family by family.
    """
    plain = [one for one in sources if not one.record.cell.budget.adapts]
    said = [(one.trained[2], one.record.provenance.about) for one in plain]
    names = short_names(namings(pd.DataFrame(said, columns=["defense", "about"])))
    for trained in dict.fromkeys(one.trained for one in plain):
        mine = [one for one in plain if one.trained == trained]
        first = min(one.record.cell.seed for one in mine)
        found = [
            (one, images) for one in mine
            if one.record.cell.seed == first and (images := _picture(one)) is not None
        ]  # fmt: skip
        if found:
            found.sort(key=lambda pair: _order(pair[0]))
            yield "-".join(trained), _figure(" ".join((*trained[:2], names[trained[2]])), found)


def _order(one: Sourced) -> tuple[object, ...]:
    return *by_family(one.record.family), one.record.cell.attack


def _picture(one: Sourced) -> np.ndarray | None:
    """Clean and attacked images, uint8 (2, images, channels, height, width); None: there are none.

    Raises:
        UsageError: a file is not the picture of its record.
    """
    path = one.path.with_suffix(".png")
    if one.path.suffix != ".json" or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return decode(one.record, file.read(LARGEST + 1))[:2, :IMAGES]
    except (OSError, UsageError) as error:
        raise UsageError(f"{path}: {error}") from error


def _figure(title: str, found: Sequence[tuple[Sourced, np.ndarray]]) -> Figure:
    rows = -(-len(found) // BLOCKS)
    figure = Figure(figsize=(WIDTH, 0.8 + ROW * rows), layout="constrained")
    axes = figure.subplots(rows, BLOCKS, squeeze=False).T.flatten()  # down, then right
    for place, (one, images) in zip(axes, found, strict=False):
        _draw(place, images)
        name = drawable(one.record.cell.attack, 26)
        place.set_title(f"{name}  ({one.record.family})", fontsize=5.5, loc="left", pad=1.5)
    for place in axes[len(found) :]:
        place.axis("off")
    figure.suptitle(
        f"{drawable(title, 90)}: as they are, attacked, difference x {TIMES}", fontsize=8
    )
    return figure


def _draw(axes: Axes, pair: np.ndarray) -> None:
    clean, attacked = pair.astype(float) / 255
    apart = (0.5 + TIMES * (attacked - clean)).clip(0, 1)
    border = ((0, 0), (0, 0), (0, 0), (0, max(1, clean.shape[3] // 8)))  # white between images
    for place, images in enumerate((clean, attacked, apart)):
        group = np.pad(images, border, constant_values=1.0)
        count, channels, height, width = group.shape
        strip = group.transpose(2, 0, 3, 1).reshape(height, count * width, channels)
        left = place * (1 + GAP / count)
        axes.imshow(
            strip if channels == 3 else strip[:, :, 0], cmap="gray", vmin=0, vmax=1,
            extent=(left, left + 1, 0, height / (count * width)), interpolation="nearest",
        )  # fmt: skip
    axes.set_xlim(0, 3 + 2 * GAP / IMAGES)
    axes.set_ylim(0, height / (count * width))
    axes.axis("off")
