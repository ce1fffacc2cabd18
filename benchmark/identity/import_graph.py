"""All the code that a module or a user's file can reach, and so what a result depends on.

Of this project count the versions that it declares: `VERSION` of a folder, `version` of an attack
or a defense. Of what a user brings counts the code, as a hash. What is installed, in site-packages
or with its `dist-info` beside it, counts by its version.
Imports are followed by parsing alone, at the top or inside functions; nothing is ever imported to
be looked at. A file that cannot be parsed counts by its bytes, one that cannot be read by its name.
Nothing here raises.
"""

from __future__ import annotations

import hashlib
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmark.core.schema import short_hash
from benchmark.identity.module_finder import OURS, ROOT, Finder, Found, Places
from benchmark.identity.source_parser import Imported, Parsed, code_of, parsed

BROUGHT = "reattack_user_"
"""How the packages begin in which `benchmark.identity.user_file` puts a user's file and its
neighbours; each has an attribute `code`, its `Reach.hash` when it was loaded."""
BASES = "benchmark.core.types"
"""Whose `version` is what components have that declare none."""
EVERYWHERE = ("torch", "torchvision", "numpy")
"""Every model needs these: a record notes their versions, and becomes stale by what they change."""
MOST = 1000
"""Files that are parsed; those reached after them count, but nothing that they import."""
LARGEST = 4 << 20
"""Bytes of a file that is parsed."""


class Reach(NamedTuple):
    """What some modules can reach."""

    files: dict[Path, str]
    """Of ours and of the user's: the name of the module in each."""
    installed: dict[str, str]
    """Version of each package that the user's code imports, but for those `EVERYWHERE`."""
    versions: dict[str, int]
    """That our folders and components declare, by their names."""

    @property
    def code(self) -> str:
        """Of all that is not ours, wherever the files lie; empty if all is."""
        foreign = {file: name for file, name in self.files.items() if not _is_ours(name, file)}
        code = sorted(f"{name} {code_hash(file)}" for file, name in foreign.items())
        found = [*code, *sorted(map(" ".join, self.installed.items()))]
        return short_hash(*found) if found else ""

    @property
    def hash(self) -> str:
        """Of that and of the declared versions."""
        return short_hash(self.code, *(f"{name} {n}" for name, n in sorted(self.versions.items())))


def reachable_hash(modules: Iterable[str]) -> str:
    """Hash of what `modules` are and of all they reach: see `Reach.hash`.

    It is taken once: a process runs what it read when it began. A user's file may be loaded again.
    """
    tops = {name: name.partition(".")[0] for name in modules}
    brought = {top for top in tops.values() if top.startswith(BROUGHT)}
    others = tuple(sorted(name for name, top in tops.items() if top not in brought))
    return short_hash(*sorted(sys.modules[top].code for top in brought), reachable(others).hash)


@cache
def reachable(modules: tuple[str, ...], outside: tuple[str, ...] = ()) -> Reach:
    """Follow the imports of `modules`, loaded or not, but not into those `outside`.

    Raises:
        ModuleNotFoundError: one of ours is not there: a name kept somewhere is out of date.
    """
    finder, places = Finder(), places_for()
    names = [name for name in sorted(set(modules)) if finder.version(name, places) is None]
    for name in names:
        if name.partition(".")[0] in OURS and find_spec(name) is None:
            raise ModuleNotFoundError(name)
    files = [one for name in names for one in finder.find(name, places).files]
    return follow(files, places, outside)


def places_for(home: Iterable[Path] = ()) -> Places:
    """Where imports look: at home first, then where Python does."""
    places = (*home, ROOT, *map(Path, sys.path))
    return tuple(dict.fromkeys(place.absolute() for place in places))


def follow(
    files: Iterable[tuple[str, Path]], places: Places, outside: tuple[str, ...] = ()
) -> Reach:
    """What these files, each with the name of the module in it, can reach."""
    reach, finder, waiting = Reach({}, {}, {}), Finder(), deque(files)
    while waiting:
        name, file = waiting.popleft()
        if file in reach.files or (outside and f"{name}.".startswith(outside)):
            continue
        reach.files[file] = name
        ours, found = _is_ours(name, file), _read(file)
        for part, number in found.versions if ours and name != BASES else ():
            reach.versions[f"{name}.{part}".rstrip(".")] = number
        for imported in found.imports if len(reach.files) <= MOST else ():
            version = None if imported.level else finder.version(imported.module, places)
            if version is None:
                waiting.extend(_imported(finder, imported, name, file, places))
            elif version and not ours:
                reach.installed[imported.module.partition(".")[0]] = version
    for package in EVERYWHERE:
        reach.installed.pop(package, None)
    return reach


def _is_ours(name: str, file: Path) -> bool:
    return name.partition(".")[0] in OURS and file.is_relative_to(ROOT)


def _imported(
    finder: Finder, imported: Imported, name: str, file: Path, places: Places
) -> Iterator[tuple[str, Path]]:
    """The files that one import statement in the module `name` reaches."""
    module, names, level = imported
    package = ""
    if level:
        up = level - (file.name == "__init__.py")
        package = ".".join(name.split(".")[: -up or None])
        places = tuple(file.parents)[level - 1 : level]
    base = finder.find(module, places, package) if module else Found([], places)
    yield from base.files
    inside = ".".join(part for part in (package, module) if part)
    if "*" in names:
        names = tuple(sorted(path.stem for place in base.inside for path in place.glob("*.py")))
    for one in names:
        yield from finder.find(one, base.inside, inside).files


def code_hash(file: Path) -> str:
    """Hash of a file's code; of its bytes if that is no Python, of nothing if it cannot be read.

    Comments, layout and docstrings do not count.
    """
    with suppress(OSError):
        if _is_python(file):
            return code_of(file.read_bytes())
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    return ""


def _read(file: Path) -> Parsed:
    with suppress(OSError):
        return parsed(file.read_bytes()) if _is_python(file) else Parsed()
    return Parsed()


def _is_python(file: Path) -> bool:
    return file.stat().st_size <= LARGEST and file.suffix == ".py"
