"""Data sets of the Hugging Face hub, or of a folder in its form: Parquet files.

    data/train-00000-of-00001.parquet      columns: image (encoded, or {bytes, path}), label

Nothing of a data set is executed: its scripts are not fetched.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from benchmark.core.errors import UsageError, describe
from benchmark.core.images import StoredImages
from benchmark.data.image_folder import FOLDERS, decode
from benchmark.data.parts import IN_MEMORY, Part, Parts, as_labels, check_shape

IMAGES, LABELS = ("image", "img", "images"), ("label", "labels", "fine_label", "target")
"""What columns are called."""


class EncodedImages(StoredImages):
    """Images as the bytes of their files, decoded when they are asked for."""

    def __init__(
        self, contents: Sequence[bytes], rows: Tensor, shape: tuple[int, int, int]
    ) -> None:
        super().__init__(rows, shape)
        self.contents = contents

    def at(self, rows: Tensor) -> Self:
        """See `StoredImages`."""
        return type(self)(self.contents, rows, self.size)

    def read(self, row: int) -> Tensor:
        """See `StoredImages`."""
        return decode(io.BytesIO(self.contents[row]), 0, f"image {row}")

    def digest(self) -> bytes:
        """See `StoredImages`: of the files, not of their pixels."""
        digest = hashlib.blake2b(digest_size=16)
        for row in self.rows.tolist():
            digest.update(hashlib.blake2b(self.contents[row]).digest())
        return digest.digest()


def read_hub(name: str) -> Parts:
    """The parts of a folder that is here, else of a data set that is fetched.

    Raises:
        UsageError: no such data set, no network, or no Parquet file of images and labels.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = fetched(name, "dataset", ["*.parquet"])
    files: dict[str, list[Path]] = {}
    for file in sorted(folder.rglob("*.parquet")):
        files.setdefault(_part_of(file), []).append(file)
    if "train" in files and "test" not in files and "validation" in files:
        files["test"] = files.pop("validation")  # as on many data sets whose test part is hidden
    if not {"train", "test"} <= files.keys():
        files = {"all": [file for some in files.values() for file in some]} if files else {}
    if not files:
        raise UsageError(f"hf:{name}: no Parquet files; expected train-*.parquet, test-*.parquet")
    names: list[str] = []
    parts = {part: _read(some, name, names) for part, some in files.items()}
    return Parts(parts, tuple(names), f"Parquet files of {name}")


def fetched(name: str, kind: str, patterns: Sequence[str]) -> Path:
    """Where files of the hub are, fetched if they are not here; `kind` is dataset or model."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise UsageError(
            f"hf:{name}: no such folder, and fetching it needs pip install -e '.[hub]'"
        ) from None
    try:
        return Path(snapshot_download(name, repo_type=kind, allow_patterns=[*patterns]))
    except Exception as error:  # no such name, no network, gated
        raise UsageError(f"hf:{name}: cannot be fetched ({describe(error)[:200]})") from None


def _part_of(file: Path) -> str:
    """`train` of `data/train-00000-of-00003.parquet` or `train/0000.parquet`."""
    words = {file.stem.partition("-")[0].lower(), file.parent.name.lower()}
    return next((part for part, known in FOLDERS.items() if words & {*known}), "all")


def _read(files: Sequence[Path], name: str, class_names: list[str]) -> Part:
    import pyarrow
    from pyarrow import parquet

    try:
        table = pyarrow.concat_tables([parquet.read_table(file) for file in files])
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UsageError(f"hf:{name}: {files[0].name} cannot be read ({describe(error)})") from None
    found = {
        kind: next((one for one in known if one in table.column_names), None)
        for kind, known in (("image", IMAGES), ("label", LABELS))
    }
    if None in found.values():
        raise UsageError(
            f"hf:{name} has columns {', '.join(table.column_names)}; expected image and label"
        )
    class_names[:] = class_names or _names(table.schema.metadata or {}, str(found["label"]))
    numbers = np.asarray(table[found["label"]].to_numpy())
    labels = as_labels(numbers, len(numbers), f"hf:{name}")
    return Part(_images(table[found["image"]].to_pylist(), name), labels)


def _images(items: Sequence[Any], name: str) -> Tensor | StoredImages:
    given = [one.get("bytes") if isinstance(one, dict) else one for one in items]
    contents = [one for one in given if isinstance(one, bytes)]
    if not contents or len(contents) < len(given):
        raise UsageError(f"hf:{name}: images are not kept in its files; expected their bytes")
    first = decode(io.BytesIO(contents[0]), 0, f"hf:{name}, image 0")
    channels, height, width = first.shape
    check_shape(first.shape, f"hf:{name}")
    stored = EncodedImages(contents, torch.arange(len(contents)), (channels, height, width))
    if len(contents) * first.nbytes > IN_MEMORY:
        return stored
    found = [stored.read(row) for row in range(len(contents))]
    for row, image in enumerate(found):
        if image.shape != first.shape:
            sizes = f"{tuple(first.shape)} and {tuple(image.shape)} (image {row})"
            raise UsageError(f"hf:{name}: images differ in size: {sizes}; expected one size")
    return torch.stack(found)


def _names(metadata: dict[bytes, bytes], label: str) -> list[str]:
    """Names of the classes, as the library `datasets` writes them into a file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[label]["names"]]
    except (KeyError, TypeError, ValueError):
        return []
