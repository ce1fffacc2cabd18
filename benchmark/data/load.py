"""Finds the files of a data set, reads them and splits them; `load` is the one to call.

Every data set is split in the same way. Test is the published test part, in published order.
Validation is drawn by seed from the published training part, equally many images of each class;
train is the rest. Digits has no published parts: its test part is the last 397 images in
published order, which other people wrote than the first 1,400: an honest shift.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmark.core.errors import UsageError, unknown
from benchmark.core.seeding import stream
from benchmark.core.types import Split
from benchmark.data.catalog import DATASETS, Facts, Files
from benchmark.data.own import is_own, own_dataset, own_facts
from benchmark.data.readers import read_published
from benchmark.data.splits import Dataset, balanced, check_images, check_labels, join


def load(name: str, data_dir: Path | None, download: bool, seed: int) -> Dataset:
    """Read and split a data set.

    Args:
        name: a key of `DATASETS`, or what `benchmark.data.own` takes.
        data_dir: where the files are (the folder itself or its parent, as torchvision lays it
            out); None means the environment variable REATTACK_DATA, else ./data.
        download: fetch what is missing, through torchvision.
        seed: draws validation out of the published training part.

    Raises:
        UsageError: unknown name, files missing or corrupt, download failed.
    """
    if is_own(name):
        return own_dataset(name, seed)
    facts = _facts(name)
    if not facts.torchvision:
        train, test = _read_digits()
        return _dataset(name, facts, train, test, "scikit-learn's load_digits", seed)
    directory = _directory(data_dir)
    if download and not _complete(facts, _find(facts, directory)):
        _download(name, facts, directory)
    found = _locate(name, facts, directory)
    train = _read(facts, facts.train, found, first_id=0)
    test = _read(facts, facts.test, found, first_id=sum(facts.sizes[:2]))
    kept = sum(1 for part in facts.train if part.keys() <= found.keys())
    partly = f" ({kept} of {len(facts.train)} training parts)" if kept < len(facts.train) else ""
    source = f"published files {', '.join(sorted(found))}{partly}"
    return _dataset(name, facts, train, test, source, seed)


def facts_of(name: str) -> Facts:
    """What a plan has to know of a data set; one of the user's is read for that, and kept."""
    return own_facts(name) if is_own(name) else _facts(name)


def unavailable(name: str, data_dir: Path | None) -> str | None:
    """Why `load` without a download would not find the files; None if it would."""
    facts = _facts(name)
    if facts.torchvision:
        try:
            _locate(name, facts, _directory(data_dir))
        except UsageError as error:
            return str(error)
    return None


def _facts(name: str) -> Facts:
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]


def _directory(data_dir: Path | None) -> Path:
    return data_dir or Path(os.environ.get("REATTACK_DATA") or "data")


def _dataset(
    name: str, facts: Facts, published: Split, test: Split, source: str, seed: int
) -> Dataset:
    for part in (published, test):
        check_labels(part.labels, len(part.raw), facts.classes)
        if isinstance(part.raw, Tensor) and part.raw.is_floating_point():  # bytes are always fine
            check_images(part.raw)
    rng = stream("validation", name, seed)
    chosen = balanced(published.labels, facts.sizes[1] // facts.classes, facts.classes, rng)
    rest = torch.ones(len(published), dtype=torch.bool)
    rest[chosen] = False
    train, validation = published.take(rest), published.take(chosen)
    return Dataset(name, facts.classes, train, validation, test, source, seed)


def _folders(facts: Facts, directory: Path) -> list[Path]:
    """Where files may lie: DIR/MNIST/raw, DIR/raw, DIR."""
    parts = Path(facts.folder).parts
    return [directory.joinpath(*parts[start:]) for start in range(len(parts) + 1)]


def _find(facts: Facts, directory: Path) -> dict[str, Path]:
    """The files of the first folder that has any, plain or .gz, by published name."""
    names = [name for part in (*facts.train, *facts.test) for name in part]
    for folder in _folders(facts, directory):
        candidates = [(name, folder / (name + end)) for name in names for end in (".gz", "")]
        if found := {name: path for name, path in candidates if os.path.isfile(path)}:
            return found
    return {}


def _complete(facts: Facts, found: Mapping[str, Path]) -> bool:
    return all(part.keys() <= found.keys() for part in (*facts.train, *facts.test))


def _locate(name: str, facts: Facts, directory: Path) -> dict[str, Path]:
    """The files found, if they suffice: the whole test part and some of the training parts."""
    found = _find(facts, directory)
    enough = any(part.keys() <= found.keys() for part in facts.train)
    if enough and all(part.keys() <= found.keys() for part in facts.test):
        return found
    needed = (*facts.test, facts.train[0]) if not enough else facts.test
    missing = [file for part in needed for file in part if file not in found]
    raise UsageError(
        f"data set {name!r}: {', '.join(missing)} not found in "
        f"{' or '.join(map(str, _folders(facts, directory)))}; "
        "say where it is with --data-dir DIR, or fetch it with --download"
    )


def _read(
    facts: Facts, parts: tuple[Files, ...], found: Mapping[str, Path], first_id: int
) -> Split:
    """The parts whose files were found; ids count all published images, found or not."""
    size = sum(facts.sizes[:2]) // len(parts)
    splits = []
    for position, part in enumerate(parts):
        if part.keys() <= found.keys():
            contents = [read_published(found[name], md5) for name, md5 in part.items()]
            arrays = facts.parse(contents, found[next(iter(part))])
            ids = torch.arange(len(arrays.labels)) + first_id + position * size
            splits.append(Split(torch.tensor(arrays.images), torch.tensor(arrays.labels), ids))
    return join(splits)


def _read_digits() -> tuple[Split, Split]:
    """The 1,797 digits: 64 pixels from 0 to 16 and a label a row (Alpaydin & Kaynak 1998).

    Read beside scikit-learn's code rather than through it: importing it takes seconds.
    """
    package = importlib.util.find_spec("sklearn")
    places = package.submodule_search_locations if package else None
    if not places:
        raise UsageError("data set 'digits' needs scikit-learn; pip install scikit-learn")
    rows = np.loadtxt(Path(places[0]) / "datasets/data/digits.csv.gz", delimiter=",")
    raw = torch.tensor(rows[:, :-1] / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    digits = Split(raw, torch.tensor(rows[:, -1]).long(), torch.arange(len(rows)))
    return digits.take(slice(1400)), digits.take(slice(1400, None))


def _download(name: str, facts: Facts, directory: Path) -> None:
    """Fetch through torchvision; what it prints goes to standard error."""
    from torchvision import datasets

    fetch = getattr(datasets, facts.torchvision)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            if name == "svhn":
                fetch(str(directory), split="train", download=True)
                fetch(str(directory), split="test", download=True)
            else:
                fetch(str(directory), download=True)
    except Exception as error:  # no network, HTTP error, read-only or full disk, bad archive
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"could not download {name!r} into {directory} ({reason}); "
            "check the network, or put the files there yourself and use --data-dir DIR"
        ) from None
