"""The pictures of a cell: its first query images, clean, stored and attacked again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.core.types import Batch
from benchmark.results.records import Record
from benchmark.results.thumbnail import encode, tiles


class FinishedCell(NamedTuple):
    """What a cell leaves behind: its record, and the PNG of its picture; empty: there is none."""

    record: Record
    picture: bytes = b""


def attacked_again(query: Batch, attacked: Tensor, clean: Tensor) -> Tensor:
    """The first images of the query as each adapted model met them: (models, tiles, C, H, W).

    Args:
        query: what every model is scored on.
        attacked: the images that were attacked, of all models one after the other: those that were
            right as they are. The others were left alone.
        clean: which those are, bool (models, n).
    """
    first = query.images[: tiles(query.images.shape[1:])]
    seen = first.expand(len(clean), *first.shape).clone()
    stake = clean[:, : len(first)]
    if int(clean.sum()) == len(attacked):
        place = clean.flatten().cumsum(0).view_as(clean) - 1
        seen[stake] = attacked[place[:, : len(first)][stake]]
    return seen


def finished(record: Record, clean: Tensor, stored: Tensor, again: Tensor | None) -> FinishedCell:
    """A record with its picture, of the first images of each row in [0, 1]: (images, C, H, W).

    A model that answers at random has none: which images were attacked is not known afterwards.
    """
    count = min(tiles(clean.shape[1:]), len(clean))
    if not count or any(flag.startswith("randomised") for flag in record.flags):
        return FinishedCell(record)
    rows = [row[:count] for row in (clean, stored, again) if row is not None]
    return FinishedCell(
        record, encode(record, torch.stack(rows).mul(255).round().byte().cpu().numpy())
    )
