"""Images, splits, and the draw of support and query. Reading files is `benchmark.data.load`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from benchmark.core.errors import AuditError, UsageError
from benchmark.core.schema import short_hash
from benchmark.core.seeding import stream
from benchmark.core.types import Batch, Shape, Split


def join(splits: Sequence[Split]) -> Split:
    """The images of several splits, one after the other."""
    return Split(
        torch.cat([split.raw[:] for split in splits]),
        torch.cat([split.labels for split in splits]),
        torch.cat([split.ids for split in splits]),
    )


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint splits of one data set."""

    name: str
    classes: int
    train: Split
    validation: Split
    test: Split
    source: str
    """Which files or batches were read, in one line."""
    seed: int
    """The seed that drew validation out of the published training part."""
    class_names: tuple[str, ...] = ()
    """Of a data set that names them."""
    positive: int = 1
    """Of two classes, the one whose accuracy is called sensitivity."""

    @property
    def shape(self) -> Shape:
        """Channels, height, width of one image."""
        return self.test.shape

    @cached_property
    def hash(self) -> str:
        """Fingerprint of the name, the seed and every split."""
        splits = self.train.hash, self.validation.hash, self.test.hash
        return short_hash(self.name, self.seed, *splits)


def for_choosing(dataset: Dataset) -> Dataset:
    """The data set on which settings are chosen: its validation images alone.

    Of each class as many as half of the rarest one may be shown, all others are scored, in their
    order. No test image is in it.

    Raises:
        UsageError: a class has less than two validation images.
    """
    labels = dataset.validation.labels
    half = int(labels.bincount(minlength=dataset.classes).min()) // 2
    if half < 1:
        raise UsageError(
            f"{dataset.name} has a class with less than 2 validation images; settings are chosen "
            "on some of them after showing others"
        )
    rng = stream("choosing", dataset.name, dataset.seed)
    shown = balanced(labels, half, dataset.classes, rng)
    others = torch.ones(len(labels), dtype=torch.bool)
    others[shown] = False
    scored = dataset.validation.take(others.nonzero().flatten())
    return replace(dataset, validation=dataset.validation.take(shown), test=scored)


POOL, EPISODES = 10, 5
"""Shown images per class, and episodes, that are crafted at once, since alone they are small
batches."""


class Episode(NamedTuple):
    """One draw: `support` is shown to the defender, `query` is scored."""

    support: Split
    query: Split


def balanced(labels: Tensor, per_class: int, classes: int, rng: torch.Generator) -> Tensor:
    """Indices of `per_class` images of each class, round by round: class 0, 1, ..., 0, 1, ...

    One permutation is drawn per class whatever `per_class` is. Hence draws from equal generators
    are nested: the first `k * classes` indices are the draw of `k` per class.

    Raises:
        UsageError: a class has too few images.
    """
    rounds = []
    for label in range(classes):
        found = (labels == label).nonzero().flatten()
        if per_class and not len(found):
            raise UsageError(
                f"class {label} has no images to draw from; expected at least {per_class} of each "
                f"of the {classes} classes"
            )
        if len(found) < per_class:
            raise UsageError(
                f"class {label} has {len(found)} images, {per_class} are needed; "
                f"ask for at most {len(found)} per class"
            )
        rounds.append(found[torch.randperm(len(found), generator=rng)[:per_class]])
    return torch.stack(rounds, dim=1).flatten()


def draw_support(split: Split, shots: int, classes: int, rng: torch.Generator) -> Split:
    """`shots` images per class; `.first(k * classes)` of it is the draw of `k` shots."""
    return split.take(balanced(split.labels, shots, classes, rng))


def support_and_query(
    dataset: Dataset, shots: int, seed: int, episode: int, limit: int | None = None, stage: int = 0
) -> Episode:
    """Support from validation; query = the first `limit` test images in published order.

    The draw depends on the data set, `seed` and `episode` alone, so every defense, attack and
    budget of an episode sees the same images: their differences are paired. In a sequence of
    attacks each arrival draws anew, whichever attack it is; `stage` counts them from 0.
    """
    rng = stream("support", dataset.name, seed, episode, *at_stage(stage))
    support = draw_support(dataset.validation, shots, dataset.classes, rng)
    query = dataset.test.first(limit)
    check_disjoint(support, query)
    return Episode(support, query)


def at_stage(stage: int) -> tuple[object, ...]:
    """What names of streams end with: nothing for the first arrival, which most cells end at."""
    return ("stage", stage) if stage else ()


def check_disjoint(support: Split, query: Split) -> None:
    """Raise AuditError if an image, or one of the same group, is both shown and scored."""
    if support.groups is not None and query.groups is not None:
        both = sorted(set(query.groups[torch.isin(query.groups, support.groups)].tolist()))
        if both:
            raise AuditError(f"{len(both)} groups are in support and query, the first: {both[0]}")
    shared = query.ids[torch.isin(query.ids, support.ids)].tolist()
    if shared:
        raise AuditError(
            f"support and query must be disjoint, but share {len(shared)} of {len(query)} query "
            f"images (ids {', '.join(map(str, shared[:5]))}{', ...' if len(shared) > 5 else ''})"
        )


def minibatches(split: Split, size: int, rng: torch.Generator) -> Iterator[Batch]:
    """One epoch: every image once, shuffled, `size` at a time (the last batch may be smaller)."""
    order = torch.randperm(len(split), generator=rng)
    for first in range(0, len(order), size):  # cut when asked for: most callers stop early
        yield split.batch(order[first : first + size])


def check_batch(images: Tensor, labels: Tensor, classes: int) -> None:
    """Raise UsageError unless these are images and labels as `benchmark.core.types` has them."""
    check_images(images)
    check_labels(labels, len(images), classes)


def check_images(images: Tensor) -> None:
    """Raise UsageError unless images are float32 (batch, channels, height, width) in [0, 1]."""
    if images.dtype != torch.float32 or images.ndim != 4:
        raise UsageError(
            "images: expected float32 (batch, channels, height, width), got "
            f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"
        )
    if not images.isfinite().all():
        raise UsageError("images: expected finite values, got NaN or infinity")
    if images.numel() and (images.min() < 0 or images.max() > 1):
        low, high = images.min().item(), images.max().item()
        raise UsageError(
            f"images: expected values in [0, 1], got [{low:.4g}, {high:.4g}]; "
            "scale them (8-bit images: divide by 255); normalisation belongs inside the network"
        )


def check_labels(labels: Tensor, n: int, classes: int) -> None:
    """Raise UsageError unless labels are int64 (n,) from 0 to classes - 1."""
    if labels.dtype != torch.int64 or labels.shape != (n,):
        raise UsageError(
            f"labels: expected int64 ({n},), got "
            f"{str(labels.dtype).removeprefix('torch.')} {tuple(labels.shape)}"
        )
    if labels.numel() and (labels.min() < 0 or labels.max() >= classes):
        low, high = int(labels.min()), int(labels.max())
        raise UsageError(f"labels: expected 0 to {classes - 1}, got {low} to {high}")
