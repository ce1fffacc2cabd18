"""Builds the manual from the pages in the folders: `python .github/manual/build.py OUT`.

The pages that zensical.toml names are copied to a temporary place, each with the files that it
points at, and built there. What leads nowhere, heading or file, ends the build with exit code 1.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SETTINGS = Path(__file__).with_name("zensical.toml")
LINK = re.compile(r"(?<=\]\()([^)#\s]+)(?=[)#])")


def main(out: Path) -> int:
    """Build the site into `out`; the exit code of the generator, which says what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        settings = SETTINGS.read_text("utf-8").replace('paths = ["."]', f"paths = ['{ROOT}']")
        (work / SETTINGS.name).write_text(settings, "utf-8")
        listed = [page_of(place) for place in named(tomllib.loads(settings)["project"]["nav"])]
        for page in listed:
            copy_page(page, listed, work / "docs")
        code = subprocess.run(["zensical", "build", "--strict"], cwd=work, check=False).returncode
        if code == 0:
            shutil.copytree(work / "site", out, dirs_exist_ok=True)
        return code


def named(nav: Any) -> Iterator[str]:
    """The pages of a nav, in order, however deep."""
    if isinstance(nav, str):
        yield nav
    else:
        for part in nav.values() if isinstance(nav, dict) else nav:
            yield from named(part)


def page_of(place: str) -> Path:
    """The file that a place in the manual holds."""
    return Path(re.sub(r"^github/", ".github/", place))


def place_of(path: Path) -> Path:
    """Where a file lies in the manual: nothing there begins with a dot."""
    return Path(re.sub(r"^\.github/", "github/", path.as_posix()))


def copy_page(page: Path, listed: list[Path], docs: Path) -> None:
    """Copy a page, links made to fit, and every file it points at that is no page of the manual.

    Raises:
        SystemExit: a link leads nowhere, out of the repository, or to a folder.
    """
    place = place_of(page)

    def moved(link: re.Match[str]) -> str:
        if "://" in link[0]:
            return link[0]
        target = Path(os.path.normpath(page.parent / link[0]))
        if not (ROOT / target).is_file() or target.is_absolute() or ".." in target.parts:
            sys.exit(f"{page}: {link[0]} is no file of the repository")
        if target not in listed:
            (docs / place_of(target)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / target, docs / place_of(target))
        return os.path.relpath(place_of(target), place.parent)

    (docs / place).parent.mkdir(parents=True, exist_ok=True)
    (docs / place).write_text(LINK.sub(moved, (ROOT / page).read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
