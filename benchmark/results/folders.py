"""What lies below a folder, or an error that names each part of it nobody can look into.

`Path.rglob` passes over such parts in silence, and over links to folders: what is in them would be
left out of every table without a word.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from benchmark.core.errors import UsageError, first_few

SHOWN = 3
"""Parts that an error names."""


class _Folder(NamedTuple):
    path: Path
    above: frozenset[tuple[int, int]]
    """Device and number of the folders it lies in."""


def files_below(root: Path, ending: str) -> list[Path]:
    """Whatever has a name that ends so, however deep, in order; none where `root` is not there.

    Raises:
        UsageError: a folder cannot be listed, lies in itself, or is a link to nothing.
    """
    found: list[Path] = []
    problems: list[str] = []
    waiting = [_Folder(root, frozenset())] if os.path.lexists(root) else []
    while waiting:
        folder = waiting.pop()
        try:
            waiting += _look(folder, ending, found)
        except OSError as error:
            problems.append(f"{folder.path} ({error.strerror or error})")
    if problems:
        raise UsageError(
            f"cannot look into {first_few(sorted(problems), SHOWN)}; expected folders that "
            "can be read: what is in them would be left out"
        )
    return sorted(found)


def _look(folder: _Folder, ending: str, found: list[Path]) -> list[_Folder]:
    """Add the files of one folder to `found`; the folders in it, and what should be some."""
    facts = os.stat(folder.path)
    here = facts.st_dev, facts.st_ino
    if here in folder.above:
        raise OSError("a link to a folder it lies in")
    within, above = [], folder.above | {here}
    with os.scandir(folder.path) as items:
        for item in items:
            if item.name.endswith(ending):
                found.append(Path(item.path))
            elif not os.path.isfile(item.path) if item.is_symlink() else item.is_dir():
                within.append(_Folder(Path(item.path), above))
    return within
