"""What the pages point at is there."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
NAMED = re.compile(r"`((?:benchmark|attacks|baselines|reports|tests)/[\w/.-]+)`")


def pages():
    listed = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return [ROOT / name for name in listed.stdout.split()] or list(ROOT.glob("*.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    text = page.read_text("utf-8")
    links = [link for link in LINK.findall(text) if "://" not in link]
    gone = [link for link in links if not (page.parent / link).exists()]
    gone += [name for name in NAMED.findall(text) if not (ROOT / name).exists()]
    assert not gone


def test_what_is_installed_holds_every_file_of_the_packages():
    """All that is not Python is named in pyproject.toml, or a wheel would come without it."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    listed = subprocess.run(
        ["git", "ls-files", *table["package-data"]], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    files = [Path(name) for name in listed.stdout.split() if not name.endswith(".py")]
    assert len(files) > 20
    for file in files:
        globs = table["package-data"][file.parts[0]]
        assert any(Path(*file.parts[1:]).match(glob) for glob in globs), f"{file} is left out"


def test_the_page_of_the_package_index_stands_alone():
    """It is shown where neither our files nor our pictures are."""
    page = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["readme"]
    text = (ROOT / page).read_text("utf-8")
    assert len(text) > 500 and not LINK.findall(text)


def test_the_readme_is_read_in_a_few_minutes():
    assert len((ROOT / "README.md").read_text("utf-8").split()) < 900


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_no_two_screens_without_a_heading(page):
    """Tables aside, which are looked up, not read."""
    without = 0
    for line in page.read_text("utf-8").splitlines():
        without = 0 if line.startswith("#") else without + (not line.startswith("|"))
        assert without <= 100, f"100 lines before {line!r}"
