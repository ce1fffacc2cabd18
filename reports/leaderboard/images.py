"""The pictures a row of the leaderboard opens to: images before and after attacks, with verdicts.

Only pixels get into the page: files are read strictly and their images encoded anew.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from benchmark.core.errors import UsageError
from benchmark.results.records import Outcome
from benchmark.results.thumbnail import LARGEST, decode, png
from reports.archive.paths import bare
from reports.leaderboard.rows import BoardRow, of_row
from reports.tidy.escape import visible
from reports.tidy.sources import Sourced

ROOM = 1 << 20
"""Characters of pictures in a page: with more it would no longer open at once."""
NAMES = ("clean", "stored", "made again")
"""Of `benchmark.results.thumbnail.ROWS`, as readers see them."""


class Asked(NamedTuple):
    """What one model said of each image: whether it is right."""

    model: str
    right: tuple[bool, ...]


class Strip(NamedTuple):
    """Images side by side, in pixels of the data set, and the models that were asked."""

    name: str
    uri: str
    alt: str
    width: int
    height: int
    asked: tuple[Asked, ...]


class Shown(NamedTuple):
    """One attack: the same images as they are, stored, and made again for the adapted model."""

    family: str
    attack: str
    threat: str
    tiles: int
    strips: tuple[Strip, ...]


class Album(NamedTuple):
    """What a row opens to, the worst family first, and what is left out."""

    shown: list[Shown]
    notes: list[str]


def albums(rows: Sequence[tuple[BoardRow, Sequence[Sourced]]]) -> list[Album]:
    """Of each row the worst attack in every family, at the largest K, as far as there is room.

    All rows get their first picture before any gets its second.

    Args:
        rows: each with the records of its defense.
    """
    wanted = [list(_worst(row, sources)) for row, sources in rows]
    found = [Album([], []) for _ in rows]
    room = ROOM
    for place in range(max(map(len, wanted), default=0)):
        for mine, album in zip(wanted, found, strict=True):
            if place >= len(mine) or room <= 0:
                continue
            try:
                shown = _show(mine[place])
            except UsageError as error:
                what = f"{mine[place].record.cell.attack}, {bare(str(error))}"
                album.notes.append(f"picture left out: {visible(what, 400)}")
                continue
            album.shown.append(shown)
            room -= sum(len(strip.uri) for strip in shown.strips)
    for mine, album in zip(wanted, found, strict=True):
        missing = len(mine) - len(album.shown) - len(album.notes)
        if missing:
            album.notes.append(f"pictures of {missing} more families: left out of a page this long")
    return found


def _worst(row: BoardRow, sources: Sequence[Sourced]) -> Iterator[Sourced]:
    """Of each family the attack that does most harm and has a picture, the worst family first."""
    mine = [
        one for one in of_row(row, sources)
        if one.record.outcome and not one.record.cell.shown
        and one.record.cell.budget.shots == row.adapted.shots
    ]  # fmt: skip
    first = min((one.record.cell.seed for one in mine), default=0)
    families: set[str] = set()
    for one in sorted(mine, key=_standing):
        record = one.record
        if record.cell.seed == first and record.family not in families and _file(one):
            families.add(record.family)
            yield one


def _standing(one: Sourced) -> tuple[float, str]:
    found = _outcome(one)
    return float((found.static.unpack() & found.reattacked.unpack()).mean()), one.file


def _outcome(one: Sourced) -> Outcome:
    assert one.record.outcome is not None, "only those that are done have pictures"
    return one.record.outcome


def _file(one: Sourced) -> bool:
    """Whether there is a picture; records that were packed into one file come without."""
    return one.path.suffix == ".json" and one.path.with_suffix(".png").is_file()


def _show(one: Sourced) -> Shown:
    path, record = one.path.with_suffix(".png"), one.record
    try:
        with path.open("rb") as file:
            images = decode(record, file.read(LARGEST + 1))
    except (OSError, UsageError) as error:
        raise UsageError(f"{path}: {error}") from error
    outcome, tiles = _outcome(one), images.shape[1]
    trained = (outcome.clean_before, outcome.before, None)
    adapted = (outcome.clean, outcome.static, outcome.reattacked)
    strips = []
    for place, row in enumerate(images):
        said = [("trained", trained[place])]
        said += [("adapted", adapted[place])] if record.cell.budget.adapts else []
        asked = [
            Asked(model, tuple(map(bool, verdicts.unpack()[0, :tiles])))
            for model, verdicts in said if verdicts
        ]  # fmt: skip
        strips.append(_strip(NAMES[place], row, tuple(asked)))
    return Shown(
        visible(record.family), visible(record.cell.attack), visible(record.threat), tiles,
        tuple(strips),
    )  # fmt: skip


def _strip(name: str, images: np.ndarray, asked: tuple[Asked, ...]) -> Strip:
    tiles, channels, height, width = images.shape
    pixels = images.transpose(2, 0, 3, 1).reshape(height, tiles * width, channels)
    uri = f"data:image/png;base64,{base64.b64encode(png(pixels)).decode()}"
    alt = f"{tiles} images, {name}"
    return Strip(name, uri, alt, tiles * width, height, asked)
