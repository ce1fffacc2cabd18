"""Data sets of the user's: `folder:DIR`, `npz:FILE`, `hf:NAME`, `path/to/file.py:NAME`.

What comes split stays split. Without a test part a fifth of the images are test, drawn once,
whatever the seed; without a validation part a tenth of the rest are, drawn by the seed. Classes
keep their shares, and a group (a patient, a track) stays whole.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from pathlib import Path

import torch
from torch import Tensor

from benchmark.core.errors import UsageError, unknown
from benchmark.core.seeding import stream
from benchmark.core.specs import Spec, label_of, quoted
from benchmark.core.types import Split
from benchmark.data.catalog import Facts
from benchmark.data.hub import read_hub
from benchmark.data.image_folder import read_folder
from benchmark.data.npz_file import read_npz
from benchmark.data.parts import Part, Parts, count_classes
from benchmark.data.splits import Dataset
from benchmark.data.torch_dataset import read_items
from benchmark.results.sizes import Sizes

KINDS = "folder:DIR, npz:FILE, hf:NAME or path/to/file.py:NAME"
TEST, VALIDATION = 0.2, 0.1
"""Shares of a data set that comes without such a part."""
SHOWN = 20
"""Validation images of a class, if that is not more than half of it: shots come from there."""


def is_own(text: str) -> bool:
    """Whether a text names a data set of the user's, not one that is listed."""
    return ":" in text


_given: dict[str, Dataset] = {}


def give(dataset: Dataset) -> str:
    """Make a data set that is in memory known in this process; the text that names it."""
    _given[dataset.name] = dataset
    own_dataset.cache_clear()  # the same images may come again with others to be shown
    return dataset.name


@lru_cache(maxsize=1)
def read_own(text: str) -> tuple[Parts, int]:
    """What a text names, and how many classes that has.

    Raises:
        UsageError: nothing of the kind, or something is wrong with its images or labels.
    """
    spec = Spec.parse(text)
    kind, _, where = spec.name.partition(":")
    options = dict(spec.options)
    options.pop("positive", "")
    if ".py:" in spec.name:
        found = read_items(spec.name)
    elif kind == "folder":
        found = read_folder(Path(where).expanduser(), _side(text, options.pop("size", "0")))
    elif kind == "npz":
        found = read_npz(Path(where).expanduser(), options.pop("group", ""))
    elif kind == "hf":
        found = read_hub(where)
    else:
        raise UsageError(f"unknown kind of data set {quoted(text)}; expected {KINDS}")
    if options:
        raise UsageError(
            f"{text}: unknown option {', '.join(options)}; expected size with folder:, group with "
            "npz:, positive"
        )
    return found, count_classes(found)


def _side(text: str, given: str) -> int:
    if not given.isdigit():
        raise UsageError(f"{text}: expected size to be a number of pixels, got {given!r}")
    return int(given)


def own_facts(text: str) -> Facts:
    """What a plan has to know of it: read once, and kept for who loads it."""
    dataset = own_dataset(text, 0)
    sizes = Sizes(len(dataset.train), len(dataset.validation), len(dataset.test))
    rarest = int(dataset.validation.labels.bincount(minlength=dataset.classes).min())
    drawn = "" if text in _given else _drawn_by_us(read_own(text)[0])
    return Facts(dataset.shape, dataset.classes, sizes, rarest=rarest, drawn=drawn)


def _drawn_by_us(found: Parts) -> str:
    """Which parts of it are missing and hence drawn; empty where it came split.

    >>> _drawn_by_us(Parts({}, (), ""))
    'test is a fifth of it, drawn by us once for all seeds; validation is drawn by the seed'
    """
    test = "test is a fifth of it, drawn by us once for all seeds"
    validation = "validation is drawn by the seed"
    missing = {"test": test, "validation": validation}
    return "; ".join(told for part, told in missing.items() if part not in found.parts)


@lru_cache(maxsize=2)
def own_dataset(text: str, seed: int) -> Dataset:
    """The three splits of a data set of the user's.

    Raises:
        UsageError: see `read_own`; or a class has too few images to be split.
    """
    if text in _given:
        return _given[text]
    found, classes = read_own(text)
    name, splits = label_of(text), _numbered(found)
    told = [found.source]
    if "all" in splits:
        whole = _dealt(splits.pop("all"), stream("order", name))
        chosen = _drawn(whole, TEST, classes, 1, stream("test", name))
        splits["test"], splits["train"] = _cut(whole, chosen)
        told.append("test drawn by us")
    elif bool((splits["test"].labels.diff() >= 0).all()):  # class by class: the first would be one
        splits["test"] = _dealt(splits["test"], stream("order", name))
    if "validation" not in splits:
        rest = splits["train"]
        chosen = _drawn(rest, VALIDATION, classes, SHOWN, stream("validation", name, seed))
        splits["validation"], splits["train"] = _cut(rest, chosen)
        told.append(f"validation drawn by seed {seed}")
    shown = _apart(splits["validation"], splits["test"], found.source)
    train = _apart(splits["train"], splits["test"], found.source)
    for part, split in (("train", train), ("test", splits["test"])):
        _check_classes(part, split, found, classes)
    positive = _positive(text, found.class_names, classes)
    return Dataset(
        name, classes, train, shown, splits["test"], ", ".join(told), seed, found.class_names,
        positive,
    )  # fmt: skip


def _check_classes(part: str, split: Split, found: Parts, classes: int) -> None:
    """UsageError for a class of which a part has nothing once the data is split."""
    missing = (split.labels.bincount(minlength=classes) == 0).nonzero().flatten().tolist()
    if missing:
        known = f" ({found.class_names[missing[0]]})" if found.class_names else ""
        raise UsageError(
            f"{found.source}: class {missing[0]}{known} has too few images, or groups, to be split:"
            f" none is left in {part}; expected at least 3 of each class, or parts that are split"
        )


def _positive(text: str, names: tuple[str, ...], classes: int) -> int:
    """Of two classes, the one that `[positive=NAME]` names, or its number; 1 by default."""
    given = dict(Spec.parse(text).options).get("positive", "1")
    known = [*(names or map(str, range(classes)))]
    if given in known:
        return known.index(given)
    if given not in ("0", "1"):
        raise unknown(f"class in positive of {text}", given, known)
    return int(given)


def _numbered(found: Parts) -> dict[str, Split]:
    """The parts as splits, their images numbered through."""
    first, splits = 0, {}
    for name, part in found.parts.items():
        splits[name] = _split(part, first)
        first += len(part.labels)
    return splits


def _split(part: Part, first: int) -> Split:
    return Split(part.images, part.labels, torch.arange(len(part.labels)) + first, part.groups)


def _dealt(split: Split, rng: torch.Generator) -> Split:
    """In random order: the first images of it are of every class."""
    return split.take(torch.randperm(len(split), generator=rng))


def _drawn(split: Split, share: float, classes: int, least: int, rng: torch.Generator) -> Tensor:
    """Which images of a split are drawn, bool (n,): of each class its share, groups as wholes.

    `least` of a class, where that leaves as many to the others.
    """
    groups = split.ids if split.groups is None else split.groups
    owners, place = torch.unique(groups, return_inverse=True)
    order = torch.randperm(len(owners), generator=rng)[place]  # a random number for each group
    chosen = torch.zeros(len(split), dtype=torch.bool)
    for label in range(classes):
        own = split.labels == label
        count = int(own.sum())
        wanted = max(ceil(share * count), min(least, count // 2))
        left = wanted - int((own & chosen).sum())
        numbers, sizes = torch.unique(order[own & ~chosen], return_counts=True)
        begun = sizes.cumsum(0) - sizes < left  # the groups that are begun before there are enough
        chosen |= torch.isin(order, numbers[begun])
    return chosen


def _cut(split: Split, chosen: Tensor) -> tuple[Split, Split]:
    """The chosen images and the others, in their order."""
    return split.take(chosen.nonzero().flatten()), split.take((~chosen).nonzero().flatten())


def _apart(split: Split, test: Split, source: str) -> Split:
    """The split without images of groups that are scored."""
    if split.groups is None or test.groups is None:
        return split
    own = (~torch.isin(split.groups, test.groups)).nonzero().flatten()
    if not len(own):
        raise UsageError(f"{source}: every group has images in test; expected groups apart")
    return split.take(own)
