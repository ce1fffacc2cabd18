"""What a data set has to keep, checked on its images, and what it is, in words."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch

from benchmark.contracts.check import Check, check_all, expect
from benchmark.core.types import Split
from benchmark.data.load import facts_of, load
from benchmark.data.own import own_dataset, read_own
from benchmark.data.splits import Dataset, check_batch, support_and_query

LOOKED_AT = 2000
"""Images of a part whose values are looked at."""


class DatasetUnderTest:
    """A data set by what names it."""

    def __init__(self, text: str, data_dir: Path | None) -> None:
        self.text, self.data_dir = text, data_dir

    @cached_property
    def dataset(self) -> Dataset:
        """Its splits for seed 0; read once."""
        return load(self.text, self.data_dir, False, 0)

    @property
    def parts(self) -> dict[str, Split]:
        """By name."""
        found = self.dataset
        return {"train": found.train, "validation": found.validation, "test": found.test}


def check_dataset(text: str, data_dir: Path | None) -> Iterator[Check]:
    """One check per rule."""
    others = [
        gives_images_in_range, has_every_class_in_every_part, has_no_image_in_two_parts,
        shows_nothing_that_is_scored, splits_the_same_way_again,
    ]  # fmt: skip
    return check_all([can_be_read], others, DatasetUnderTest(text, data_dir))


def can_be_read(subject: DatasetUnderTest) -> str:
    """What there is."""
    found, shots = subject.dataset, facts_of(subject.text).most_shots
    sizes = " / ".join(str(len(part)) for part in subject.parts.values())
    return (
        f"{found.name}: {'x'.join(map(str, found.shape))}, {found.classes} classes, {sizes} images "
        f"(train / validation / test), up to {shots} shots; {found.source}"
    )


def gives_images_in_range(subject: DatasetUnderTest) -> None:
    """Float32 in [0, 1], labels int64."""
    for part in subject.parts.values():
        check_batch(*part.first(LOOKED_AT).batch(), subject.dataset.classes)


def has_every_class_in_every_part(subject: DatasetUnderTest) -> None:
    """What has no images of a class can neither show nor score it."""
    for name, part in subject.parts.items():
        counts = part.labels.bincount(minlength=subject.dataset.classes)
        missing = (counts == 0).nonzero().flatten().tolist()
        expect(not missing, f"images of every class in {name}", f"none of class {missing[:5]}")


def has_no_image_in_two_parts(subject: DatasetUnderTest) -> str | None:
    """By number; by pixels too, of the first images, where a copy is only remarked on."""
    ids = torch.cat([part.ids for part in subject.parts.values()]).tolist()
    expect(
        len(set(ids)) == len(ids), "every image in one part", f"{len(ids) - len(set(ids))} in two"
    )
    known = {
        name: {image.numpy().tobytes() for image in part.raw[slice(LOOKED_AT)]}
        for name, part in subject.parts.items()
    }
    copies = len(known["test"] & (known["train"] | known["validation"]))
    return f"{copies} test images have an exact copy in train or validation" if copies else None


def shows_nothing_that_is_scored(subject: DatasetUnderTest) -> None:
    """Nor, where there are groups, an image of a group that is."""
    episode = support_and_query(subject.dataset, 1, 0, 0)  # raises if so
    expect(len(episode.support) == subject.dataset.classes, "an image of each class", "others")


def splits_the_same_way_again(subject: DatasetUnderTest) -> None:
    """Everything else would let results depend on the hour."""
    before = subject.dataset.hash
    read_own.cache_clear()
    own_dataset.cache_clear()
    again = load(subject.text, subject.data_dir, False, 0).hash
    expect(again == before, f"hash {before}", again)
