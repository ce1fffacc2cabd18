"""A user's file as a module, together with its neighbours and with nobody else's.

Each file gets a package of its own, and its folder is where that package is: `import shift` in the
file, or in a neighbour, at the top or while the model is asked, means the `shift.py` beside it,
whatever another file calls its own. What is installed, and this project, is everybody's.
Code is read anew at every load; compiled files are neither used nor left behind.
"""

from __future__ import annotations

import builtins
import importlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from benchmark.core.errors import UsageError, unknown
from benchmark.core.isolation import Changes, kept
from benchmark.core.schema import short_hash
from benchmark.identity.import_graph import BROUGHT, follow, places_for
from benchmark.identity.module_finder import OURS, ROOT, Places, is_installed, look, owners


class Home(ModuleType):
    """The package in which a user's file and its neighbours are loaded."""

    code = ""
    """Hash of all that the file reaches, and of all it loaded."""
    left: Changes = ()
    """What the file set when it was imported: in force again where its models are built."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.__path__ = [str(folder)]
        self.known: dict[str, bool] = {}
        self.read: dict[str, str] = {}
        """Files of modules that came by other ways than `import`, by name."""
        self._others: set[str] | None = None

    @property
    def places(self) -> Places:
        """Its folder, and those that the file added to the path."""
        return tuple(map(Path, self.__path__))

    @contextmanager
    def entered(self) -> Iterator[Changes]:
        """Where its code runs: global state is put back after it."""
        loaded, path = set(sys.modules), sys.path.copy()
        sys.path.extend(place for place in self.__path__ if place not in path)
        self._others = {*path}
        try:
            with kept(self.left) as changes:
                yield changes
                self.look_around()
        finally:
            sys.path[:], self._others = path, None
            for name in set(sys.modules) - loaded:
                self._take_home(name)

    def look_around(self) -> None:
        """Folders that its code adds to the path are its own."""
        new = [] if self._others is None else [
            place for place in sys.path if place not in self._others and place not in self.__path__
        ]  # fmt: skip
        if new:
            self.__path__.extend(new)
            self.known.clear()

    def _take_home(self, name: str) -> None:
        """A neighbour that was imported by its name alone is there for nobody else."""
        file = getattr(sys.modules[name], "__file__", None)
        if file and not name.startswith(BROUGHT) and self.owns(name.partition(".")[0]):
            self.read[name] = file
            del sys.modules[name]

    def owns(self, top: str) -> bool:
        """Whether a name means a neighbour."""
        if top not in self.known:
            self.known[top] = self._owns(top)
        return self.known[top]

    def _owns(self, top: str) -> bool:
        here = look(top, self.places)
        elsewhere = getattr(sys.modules.get(top), "__file__", None) or look(top, places_for()).file
        if here.file is None and elsewhere:
            return False  # a folder that happens to be called like a package
        found = here.file or next(iter(here.inside), None)
        if found is None or top in sys.builtin_module_names:
            return False
        place = found.parents[1] if found.name == "__init__.py" else found.parent
        return not (is_installed(place) or top in owners(place) or (top in OURS and place == ROOT))

    def files(self) -> list[tuple[str, Path]]:
        """Of all modules that were loaded here, with their names."""
        start = f"{self.__name__}."
        loaded = {name.removeprefix(start): getattr(module, "__file__", None)
                  for name, module in sys.modules.items() if name.startswith(start)}  # fmt: skip
        return sorted((name, Path(file)) for name, file in (loaded | self.read).items() if file)


def load(file: Path) -> ModuleType:
    """The module in a file, executed anew; whatever that raises."""
    file = file.resolve()
    package = f"{BROUGHT}{short_hash(file)}"
    for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    home = sys.modules[package] = Home(package, file.parent)
    name = ".".join((package, re.sub(r"\W", "_", file.stem)))
    spec = spec_from_loader(name, _Source(name, str(file)))
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)  # pickling looks a class's module up
    with home.entered() as left:
        spec.loader.exec_module(module)
    home.left = left
    home.code = follow(home.files(), places_for(home.places)).hash
    return module


def named_in(file: Path, name: str, flag: str) -> tuple[Any, Home]:
    """What a name in a user's file stands for, and where its code runs.

    Raises:
        UsageError: no such file or name, or the file fails; `flag` is what names it.
    """
    if not file.is_file():
        raise UsageError(f"no file {file}; expected {flag} path/to/file.py:NAME")
    try:
        module = load(file)
    except (Exception, SystemExit) as error:  # a script may end itself
        raise UsageError(
            f"{file} fails on import: {type(error).__name__}: {error}; "
            "expected a file that can be imported"
        ) from error
    if not hasattr(module, name):
        known = {key: value for key, value in vars(module).items() if not key.startswith("__")}
        own = [key for key, value in known.items() if _is_own(value, module.__name__)]
        raise unknown(f"name in {file}", name, own)
    return getattr(module, name), home_of(module)


def _is_own(value: Any, module: str) -> bool:
    """Whether a name in a module is for others to use: made there, and no plain value."""
    made_here = module in (getattr(value, "__module__", None), type(value).__module__)
    return made_here or hasattr(value, "forward") or hasattr(value, "__getitem__")


def home_of(module: ModuleType) -> Home:
    """The package a loaded file is in."""
    home = sys.modules[module.__name__.partition(".")[0]]
    assert isinstance(home, Home)
    return home


class _Source(SourceFileLoader):
    """Reads code anew, and lets it import its neighbours."""

    def get_code(self, fullname: str) -> CodeType:
        """As written now: a compiled file is told by its second alone."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        """With `import` as its neighbours need it."""
        own = partial(_import, home_of(module))
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": own}
        super().exec_module(module)


class _Neighbours(MetaPathFinder):
    """Finds what is inside a `Home`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As Python would, but for the loader."""
        spec = PathFinder.find_spec(fullname, path) if fullname.startswith(BROUGHT) else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Source(spec.loader.name, spec.loader.path)
        return spec


sys.meta_path.insert(0, _Neighbours())


def _import(
    home: Home, name: str, globals_: Mapping[str, Any] | None = None,
    locals_: Mapping[str, Any] | None = None, fromlist: Sequence[str] | None = (), level: int = 0,
) -> ModuleType:  # fmt: skip
    """`__import__` for code that lives at home."""
    if level == 0:
        home.look_around()
        top = name.partition(".")[0]
        if home.owns(top):
            full = f"{home.__name__}.{name}"
            if fromlist:
                return builtins.__import__(full, globals_, locals_, fromlist)
            importlib.import_module(full)
            return sys.modules[f"{home.__name__}.{top}"]
    return builtins.__import__(name, globals_, locals_, fromlist or (), level)
