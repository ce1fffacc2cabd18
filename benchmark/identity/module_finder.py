"""Where the file of a module is, found by looking and never by importing."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import NamedTuple

OURS = ("attacks", "baselines", "benchmark", "reports")
ROOT = Path(__file__).resolve().parents[2]
_INSTALLED = tuple(
    Path(sysconfig.get_path(kind)).resolve()
    for kind in ("stdlib", "platstdlib", "purelib", "platlib")
)
Places = tuple[Path, ...]
"""Folders, the first one first."""


class NamePart(NamedTuple):
    """What one part of a dotted name is."""

    file: Path | None = None
    """None for a folder of nobody, and for what is not there."""
    inside: Places = ()
    """Where its submodules are."""


class Found(NamedTuple):
    """What a dotted name is, as far as there are files for it."""

    files: list[tuple[str, Path]]
    """The module's, those of the packages around it first, each with its name."""
    inside: Places = ()


class Finder:
    """Looks modules up on the disk, each once."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, Places], NamePart] = {}

    def find(self, name: str, places: Places, package: str = "") -> Found:
        """The files of a dotted name inside `package`, which is at `places`."""
        files = []
        for part in name.split("."):
            file, places = self.look(part, places) if package else self.top(part, places)
            package = f"{package}.{part}" if package else part
            if file is not None:
                files.append((package, file))
            if not places:
                break
        return Found(files, places)

    def top(self, name: str, places: Places) -> NamePart:
        """A module of no package; it may have been loaded from where only a hook knew."""
        seen = self.look(name, places)
        loaded = getattr(sys.modules.get(name), "__file__", None)
        if seen != NamePart() or not loaded or not Path(loaded).is_file():
            return seen
        file = Path(loaded)
        return NamePart(file, (file.parent,) if file.name == "__init__.py" else ())

    def look(self, part: str, places: Places) -> NamePart:
        """One part of a dotted name."""
        key = part, places
        if key not in self.known:
            self.known[key] = look(part, places) if part.isidentifier() else NamePart()
        return self.known[key]

    def version(self, name: str, places: Places) -> str | None:
        """Of the installed package a name belongs to, "" if nobody knows; None if it is not."""
        top = name.partition(".")[0]
        seen = self.top(top, places)
        found = seen.file or next(iter(seen.inside), None)
        if found is None:
            return None
        place = found.parents[1] if found.name == "__init__.py" else found.parent
        if top in OURS and place == ROOT:
            return None
        return owners(place).get(top, "" if is_installed(place) else None)


def look(part: str, places: Sequence[Path]) -> NamePart:
    """As Python looks: packages, then modules; folders of nobody only if there is neither."""
    folders = []
    for place in places:
        folder = place / part
        with suppress(OSError, ValueError):  # a folder that may not be looked into
            if folder.is_dir():
                if (folder / "__init__.py").is_file():
                    return NamePart(folder / "__init__.py", (folder,))
                folders.append(folder)
            for suffix in (*EXTENSION_SUFFIXES, ".py"):
                if (place / f"{part}{suffix}").is_file():
                    return NamePart(place / f"{part}{suffix}")
    return NamePart(None, tuple(folders))


@cache
def is_installed(place: Path) -> bool:
    """Whether a folder is one into which packages are installed, or Python's own."""
    place = place.resolve()
    return bool({"site-packages", "dist-packages"} & set(place.parts)) or any(
        place.is_relative_to(installed) for installed in _INSTALLED
    )


def owners(place: Path) -> dict[str, str]:
    """Version of each module in a folder that a `dist-info` beside it says to have installed."""
    with suppress(OSError):
        return _owners(place, place.stat().st_mtime_ns)
    return {}


@cache
def _owners(place: Path, _changed: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for notes in sorted(place.glob("*.dist-info")):
        found |= dict.fromkeys(_installed_by(notes), notes.stem.partition("-")[2])
    return found


def _installed_by(notes: Path) -> Iterator[str]:
    for name in ("top_level.txt", "RECORD"):
        with suppress(OSError, UnicodeDecodeError):
            lines = (notes / name).read_text("utf-8").splitlines()
            tops = {line.strip('"').partition(",")[0].partition("/")[0] for line in lines}
            yield from {top.partition(".")[0] for top in tops if top not in ("", "..")}
            return
    yield notes.stem.partition("-")[0]
