"""Data sets in one NumPy file: MedMNIST's keys, or `images` and `labels`. Nothing is unpickled."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.core.errors import UsageError
from benchmark.data.parts import Part, Parts, as_images, as_labels

PREFIXES = {"train": "train_", "validation": "val_", "test": "test_", "all": ""}


def read_npz(path: Path, group: str = "") -> Parts:
    """The parts of a file; `group` names the array that says whom each image is of.

    Raises:
        UsageError: it is no such file, holds Python objects, or its arrays make no data set.
    """
    if not path.is_file():
        raise UsageError(f"no file {path}; expected --dataset npz:FILE")
    try:
        with np.load(path, allow_pickle=False) as table:
            if not isinstance(table, np.lib.npyio.NpzFile):
                raise UsageError(f"{path}: one array; expected a file of np.savez with several")
            return _parts(path, {name: table[name] for name in table.files}, group)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, UsageError):
            raise
        reason = " ".join(str(error).split())[:200]
        if "pickle" in reason:
            reason = "it holds Python objects, and loading those could run code"
        raise UsageError(
            f"refused {path}: {reason}; expected arrays of numbers as np.savez writes them"
        ) from None


def _parts(path: Path, table: dict[str, np.ndarray[Any, Any]], group: str) -> Parts:
    where = {name: prefix for name, prefix in PREFIXES.items() if f"{prefix}images" in table}
    if "all" not in where and not {"train", "test"} <= where.keys():
        raise UsageError(
            f"{path} holds {', '.join(sorted(table)) or 'nothing'}; expected images and labels, "
            "or train_images, train_labels, test_images, test_labels (val_... too if there are)"
        )
    if "all" in where:
        where = {"all": ""}
    groups = _groups(path, table, where, group) if group else {}
    parts = {name: _part(path, table, prefix, groups.get(name)) for name, prefix in where.items()}
    names = tuple(map(str, table["class_names"])) if "class_names" in table else ()
    return Parts(parts, names, f"npz file {path.name}")


def _part(
    path: Path, table: dict[str, np.ndarray[Any, Any]], prefix: str, groups: Tensor | None
) -> Part:
    key = f"{prefix}labels"
    if key not in table:
        raise UsageError(f"{path}: no {key} for {prefix}images; it holds {', '.join(table)}")
    images = as_images(table[f"{prefix}images"], f"{path}, {prefix}images")
    return Part(images, as_labels(table[key], len(images), f"{path}, {key}"), groups)


def _groups(
    path: Path, table: dict[str, np.ndarray[Any, Any]], where: dict[str, str], group: str
) -> dict[str, Tensor]:
    """By part a number for each image, equal for equal values of the array, in whichever part."""
    found = []
    for prefix in where.values():
        key, n = f"{prefix}{group}", len(table[f"{prefix}images"])
        if key not in table or table[key].shape not in {(n,), (n, 1)}:
            got = table[key].shape if key in table else "none"
            raise UsageError(
                f"{path}: group={group}: expected {key}, one for each of {n} images, got {got}; it "
                f"holds {', '.join(table)}"
            )
        found.append(table[key].reshape(n))
    _, numbers = np.unique(np.concatenate(found), return_inverse=True)
    ends = np.cumsum([len(one) for one in found])
    split = np.split(numbers.reshape(-1).astype(np.int64), ends[:-1])
    return {name: torch.from_numpy(part) for name, part in zip(where, split, strict=True)}
